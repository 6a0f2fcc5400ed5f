"""What the server tells of what happens, in the words and shapes of 0.16.18 (facts/stalwart.md 5.2, 11.7)."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.sandbox.stalwart.ids import decode

Data = dict[str, Any]
_SPANS = count(342_282_590_291_531_776, 1 << 20)


@dataclass(frozen=True)
class Span:
    """One connection: every event of it has its keys behind its own."""

    listener: str
    port: int
    address: str
    remote_port: int
    number: int

    @property
    def keys(self) -> Data:
        """Its keys in an event."""
        return {
            "listenerId": self.listener,
            "localPort": self.port,
            "remoteIp": self.address,
            "remotePort": self.remote_port,
        }


def span(listener: str, local: tuple[str, int], remote: tuple[str, int]) -> Span:
    """A new connection."""
    return Span(listener, local[1], remote[0], remote[1], next(_SPANS))


SPAN: ContextVar[Span | None] = ContextVar("SPAN", default=None)
"""The connection that is served."""
Listener = Callable[[str, Data], None]


class Events:
    """Tells whoever listens."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Hand every event from now on to ``listener``: its type and its data."""
        self._listeners.append(listener)

    def tell(self, kind: str, /, *, bare: bool = False, **data: Any) -> None:
        """Something happened. ``bare``: it is told outside of its connection."""
        found = SPAN.get()
        if found is None or bare:
            told = data
        else:  # the event's own keys first, and the first one wins
            told = {**data, "spanId": found.number, **{key: v for key, v in found.keys.items() if key not in data}}
        for listener in self._listeners:
            listener(kind, told)

    # -- who gets in ------------------------------------------------------------------------

    def let_in(self, account: str, name: str, *, app_password: int | None = None) -> None:
        """A credential was right; whether its owner may log in is asked afterwards."""
        if app_password is None:
            self.tell("auth.success", accountName=name, accountId=decode(account))
        else:  # only the local part, and the number of the credential
            local = name.partition("@")[0]
            details = "Authenticated with app password"
            self.tell("auth.success", accountName=local, accountId=decode(account), id=app_password, details=details)

    def failed(self, login: str, account: str | None, *, domain_is_ours: bool) -> None:
        """A credential was wrong. Of a domain that is not here the account is not even named."""
        address = _address()
        if login and not domain_is_ours:
            self.tell("auth.failed", details=login.rpartition("@")[2], reason="Domain not found", remoteIp=address)
        elif account is None:
            self.tell("auth.failed", accountName=login, reason="Account not found", remoteIp=address)
        else:
            reason = "Authentication failed"
            self.tell("auth.failed", accountName=login, accountId=decode(account), reason=reason, remoteIp=address)

    def unreadable(self, token: str) -> None:
        """A token that is none. It is told in clear."""
        reason = "Failed to decode token."
        self.tell("auth.error", reason=reason, causedBy="token.rs:87", details=token, remoteIp=_address())

    def banned(self, login: str) -> None:
        """That was one wrong credential too many."""
        self.tell("security.authentication-ban", remoteIp=_address(), accountName=login)

    def unauthorized(self, account: str) -> None:
        """The credential was right and its owner is locked out. Over IMAP the connection is not told."""
        found = SPAN.get()
        bare = found is not None and found.listener == "imaps"
        number = decode(account)
        self.tell("security.unauthorized", bare=bare, details="authenticate", accountId=number, remoteIp=_address())

    # -- mail ----------------------------------------------------------------------------------

    def queued(self, queue: int, sender: str, recipients: list[str], size: int) -> None:
        """A message was taken."""
        data: Data = {"queueId": queue, "from": sender, "to": recipients, "size": size}
        self.tell("queue.message-queued", **data)

    def ingested(self, queue: int, account: str, sender: str, recipient: str, size: int) -> None:
        """A message is in a mailbox."""
        data = {"accountId": decode(account), "mailboxId": [0], "queueId": queue, "size": size, "from": sender}
        self.tell("message-ingest.ham", bare=True, **data, to=[recipient])

    def delivered(self, queue: int, sender: str, recipient: str, size: int) -> None:
        """A message came to its end here; there is no `delivery.delivered` for it."""
        data = {"queueId": queue, "queueName": "local", "from": sender, "size": size, "total": 1}
        self.tell("delivery.dsn-success", bare=True, to=recipient, hostname="localhost", code=250, details="OK", **data)
        self.tell("delivery.completed", bare=True, elapsed=0, to=[recipient], **data)


def _address() -> str:
    found = SPAN.get()
    return found.address if found else ""

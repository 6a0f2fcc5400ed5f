"""What the canary holds between a control and its attempt. It lives in memory only, and no ``repr`` shows any of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class App(StrEnum):
    """The applications whose tokens are kept, by the words a receipt uses."""

    OWN = "own application"
    FILES = "files"
    MAIL = "mail"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """An application of Authentik as its own server side sees it. ``refresh_life`` in seconds."""

    client_id: str
    secret: str = field(repr=False)
    redirect_uri: str
    refresh_life: float


@dataclass(slots=True, kw_only=True)
class Pass:
    """The tokens of one application.

    Attributes:
        since: the clock when the access token was asked for.
        life: seconds the access token is valid.
        doubtful: a refresh was sent and its answer lost. The token may be spent, so its refusal proves nothing.
    """

    client: OAuthClient
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    since: float
    life: float
    doubtful: bool = False

    def left(self, now: float) -> float:
        """Seconds the access token is still valid by itself; 0 or less when it is over."""
        return self.since + self.life - now

    def renewable(self, now: float) -> bool:
        """Whether the refresh token is still within its own life."""
        return now < self.since + self.client.refresh_life


@dataclass(frozen=True, slots=True, kw_only=True)
class MailKey:
    """The way into the mailbox: where a directory rules a ``token``, which lives only so long; else a password."""

    header: str = field(repr=False)
    token: Pass | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An expiring public link to an empty folder. ``until`` is the clock at its end."""

    path: str = field(repr=False)
    header: str = field(repr=False)
    until: float


@dataclass(slots=True, kw_only=True)
class Keys:
    """Everything of one rehearsal. ``space`` is the path of the tenant's main space."""

    cookies: dict[str, str] = field(default_factory=dict, repr=False)
    passes: dict[App, Pass] = field(default_factory=dict)
    mail: MailKey | None = None
    space: str = ""
    link: Link | None = None

"""SMTP, enough to see who gets in and which mail is taken (facts/stalwart.md 11.5, 11.6, 11.8)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable

from tests.sandbox.stalwart.delivery import SLOW_DOWN, Envelope, Mailroom
from tests.sandbox.stalwart.lines import Lines
from tests.sandbox.stalwart.visitors import Refusal, Visitors

HOST = "mail.dezky.test"
UNKNOWN = "535 5.7.8 Authentication credentials invalid."
UNAUTHORIZED = "550 5.7.1 Your account is not authorized to use this service."


class SmtpSession:
    """One connection. Who was let in stays in: nothing of it is asked again."""

    def __init__(self, lines: Lines, visitors: Visitors, mailroom: Mailroom) -> None:
        self._lines, self._visitors, self._mailroom = lines, visitors, mailroom
        self._envelope: Envelope | None = None
        self._authenticated = ""
        self._closing = False
        self._verbs: dict[str, Callable[[str], str]] = {
            "HELO": lambda _: f"250 {HOST}",
            "EHLO": lambda _: f"250-{HOST}\r\n250-AUTH PLAIN LOGIN\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME",
            "NOOP": lambda _: "250 2.0.0 OK",
            "RSET": self._reset,
            "MAIL": self._mail,
            "RCPT": self._recipient,
            "QUIT": self._quit,
        }

    async def run(self) -> None:
        """Serve until either side has enough."""
        if not self._mailroom.may_connect(self._lines.address):
            return  # without a greeting
        self._lines.say(f"220 {HOST} Stalwart ESMTP at your service")
        while not self._closing and (line := await self._lines.next()) is not None:
            verb = line.split(" ", 1)[0].upper()
            if verb == "AUTH":
                await self._authenticate(line)
            elif verb == "DATA":
                await self._data()
            elif act := self._verbs.get(verb):
                self._lines.say(act(line))
            else:
                self._lines.say("500 5.5.1 Invalid command.")

    def _reset(self, _: str) -> str:
        self._envelope = None
        return "250 2.0.0 OK"

    def _quit(self, _: str) -> str:
        self._closing = True
        return "221 2.0.0 Bye."

    def _mail(self, line: str) -> str:
        envelope = Envelope(self._lines.address, sender=_address(line), authenticated=self._authenticated)
        if not self._mailroom.may_send(envelope):
            return SLOW_DOWN
        self._envelope = envelope
        return "250 2.1.0 OK"

    def _recipient(self, line: str) -> str:
        if self._envelope is None:
            return "503 5.5.1 MAIL is required first."
        return self._mailroom.recipient(self._envelope, _address(line))

    async def _data(self) -> None:
        if self._envelope is None or not self._envelope.recipients:
            self._lines.say("503 5.5.1 RCPT is required first.")
            return
        self._lines.say("354 Start mail input; end with <CRLF>.<CRLF>")
        message = await self._lines.until(b"\r\n.\r\n")
        if message is None:
            return
        self._mailroom.deliver(self._envelope, message)
        self._envelope = None
        self._lines.say("250 2.0.0 Message queued")

    # -- AUTH -----------------------------------------------------------------------------

    async def _authenticate(self, line: str) -> None:
        _, mechanism, *initial = line.split(" ")
        try:
            if mechanism.upper() == "LOGIN":
                user = _decoded(initial[0]) if initial else await self._ask("VXNlcm5hbWU6")
                password = await self._ask("UGFzc3dvcmQ6")
            elif mechanism.upper() == "PLAIN":
                token = _decoded(initial[0]) if initial else await self._ask("")
                _, user, password = token.split("\0")
            else:
                self._lines.say("504 5.5.4 Unrecognized authentication type.")
                return
        except ValueError:
            self._lines.say("500 5.5.6 Invalid challenge.")
            return
        self._lines.say(self._admit(user, password))

    def _admit(self, user: str, password: str) -> str:
        visitor = self._visitors.by_password(user, password, self._lines.address)
        if visitor is Refusal.BANNED:
            self._closing = True
        if visitor is Refusal.UNKNOWN or visitor is Refusal.BANNED:
            return UNKNOWN
        if isinstance(visitor, Refusal) or "emailSend" not in visitor.rights:
            return UNAUTHORIZED
        self._authenticated = visitor.name
        return "235 2.7.0 Authentication succeeded."

    async def _ask(self, challenge: str) -> str:
        self._lines.say(f"334 {challenge}")
        return _decoded(await self._lines.next() or "")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("no base64") from error


def _address(line: str) -> str:
    found = re.search(r"<([^>]*)>", line)
    return found[1].lower() if found else ""


async def serve_smtp(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, visitors: Visitors, mailroom: Mailroom
) -> None:
    """One SMTP connection, to its end."""
    async with Lines(reader, writer) as lines:
        await SmtpSession(lines, visitors, mailroom).run()

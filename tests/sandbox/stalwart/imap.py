"""IMAP, enough to see who gets in and which mail is there (facts/stalwart.md 11.0.6, 11.5, 11.10)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re

from tests.sandbox.stalwart.lines import Lines
from tests.sandbox.stalwart.objects import Objects
from tests.sandbox.stalwart.visitors import Refusal, Visitors

CAPABILITIES = "IMAP4rev1 IDLE AUTH=PLAIN"
WORD = re.compile(r'"([^"]*)"|(\S+)')
FAILED = "NO [AUTHENTICATIONFAILED] Authentication failed"


class ImapSession:
    """One connection. Who was let in stays in, whatever becomes of the account's rights."""

    def __init__(self, lines: Lines, visitors: Visitors, objects: Objects) -> None:
        self._lines, self._visitors, self._objects = lines, visitors, objects
        self._account = ""
        self._closing = False

    async def run(self) -> None:
        """Serve until either side has enough."""
        self._lines.say(f"* OK [CAPABILITY {CAPABILITIES}] Stalwart IMAP4rev1 at your service.")
        while not self._closing and (line := await self._lines.next()) is not None:
            tag, verb, *words = [*(quoted or plain for quoted, plain in WORD.findall(line)), "", ""]
            await self._do(tag, verb.upper(), [word for word in words if word])

    async def _do(self, tag: str, verb: str, words: list[str]) -> None:
        if verb == "LOGIN" and len(words) == 2:
            self._log_in(tag, *words)
        elif verb == "AUTHENTICATE":
            await self._authenticate(tag, words)
        elif verb == "LOGOUT":
            self._lines.say(f"* BYE\r\n{tag} OK LOGOUT completed")
            self._closing = True
        elif verb == "CAPABILITY":
            self._lines.say(f"* CAPABILITY {CAPABILITIES}\r\n{tag} OK CAPABILITY completed")
        elif verb == "NOOP":
            self._lines.say(f"{tag} OK NOOP completed")
        elif self._account:
            self._mailbox(tag, verb, words)
        else:
            self._lines.say(f"{tag} BAD Not authenticated")

    def _mailbox(self, tag: str, verb: str, words: list[str]) -> None:
        mail = self._objects.mail.get(self._account, [])
        if verb == "LIST":
            self._lines.say(f'* LIST () "/" INBOX\r\n{tag} OK LIST completed')
        elif verb in {"SELECT", "EXAMINE"}:
            self._lines.say(f"* {len(mail)} EXISTS\r\n{tag} OK {verb} completed")
        elif verb == "STATUS":
            self._lines.say(f"* STATUS INBOX (MESSAGES {len(mail)})\r\n{tag} OK STATUS completed")
        elif verb == "FETCH" and words and words[0].isdigit() and 0 < int(words[0]) <= len(mail):
            message = mail[int(words[0]) - 1].decode(errors="replace")
            size = len(message.encode())
            self._lines.say(f"* {words[0]} FETCH (BODY[] {{{size}}}\r\n{message})\r\n{tag} OK FETCH completed")
        else:
            self._lines.say(f"{tag} BAD Unknown command")

    # -- log-in -----------------------------------------------------------------------------

    async def _authenticate(self, tag: str, words: list[str]) -> None:
        if not words or words[0].upper() != "PLAIN":
            self._lines.say(f"{tag} NO [CANNOT] Authentication mechanism not supported.")
            return
        if len(words) < 2:
            self._lines.say("+ ")
            words = [*words, await self._lines.next() or ""]
        try:
            _, user, password = base64.b64decode(words[1], validate=True).decode().split("\0")
        except (binascii.Error, ValueError):
            self._lines.say(f"{tag} NO Invalid SASL argument")
            return
        self._log_in(tag, user, password)

    def _log_in(self, tag: str, user: str, password: str) -> None:
        """Whoever is suspended gets no line: the connection is closed. App passwords have traps of their own."""
        if self._visitors.app_password_is_expired(password):
            return  # never answered
        visitor = self._visitors.by_password(user, password, self._lines.address)
        if visitor is Refusal.UNKNOWN:
            self._lines.say(f"{'*' if password.startswith('app_') else tag} {FAILED}")
        elif isinstance(visitor, Refusal) or "imapAuthenticate" not in visitor.rights:
            self._closing = True
        else:
            self._account = visitor.id
            self._lines.say(f"{tag} OK [CAPABILITY {CAPABILITIES}] Authentication successful")


async def serve_imap(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, visitors: Visitors, objects: Objects
) -> None:
    """One IMAP connection, to its end."""
    async with Lines(reader, writer) as lines:
        await ImapSession(lines, visitors, objects).run()

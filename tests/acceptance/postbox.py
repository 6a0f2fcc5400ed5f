"""The doors of a mail server: delivery, submission and reading, as mail programs use them."""

from __future__ import annotations

import asyncio
import imaplib
import secrets
import smtplib
import ssl
import time
from dataclasses import dataclass

from tests.acceptance.targets import Endpoint

PATIENCE = 15.0
"""Seconds for one answer."""
BUSY = "4.4.5"
"""Too much mail in too short a time. The limits of a fresh Stalwart are 5 a second (facts/stalwart.md 11.6)."""


def _any_certificate() -> ssl.SSLContext:
    """Test servers have self-signed certificates, and no secret of anybody's is sent to one."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class Said:
    """An SMTP answer."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Postbox:
    """``smtp`` takes mail from anybody, ``submission`` and ``imap`` log people in."""

    smtp: Endpoint
    submission: Endpoint
    imap: Endpoint

    async def recipient(self, address: str) -> Said:
        """What the server says when somebody out there wants to write to ``address``."""
        return await asyncio.to_thread(self._patiently, address, None)

    async def deliver(self, address: str, text: str) -> Said:
        """Deliver a message; what the server says at its end."""
        return await asyncio.to_thread(self._patiently, address, text)

    async def hold(self, address: str) -> Said:
        """What the server says first, be it that it is busy."""
        return await asyncio.to_thread(self._once, address, None)

    def _patiently(self, address: str, text: str | None) -> Said:
        deadline = time.monotonic() + PATIENCE
        while (said := self._once(address, text)).text.startswith(BUSY) and time.monotonic() < deadline:
            time.sleep(0.25)
        return said

    def _once(self, address: str, text: str | None) -> Said:
        # Another sender domain each time: 25 messages an hour are allowed per sender domain and recipient.
        sender = f"peer@{secrets.token_hex(4)}.test"
        with _smtp(self.smtp) as server:
            code, words = server.mail(sender)
            if code == 250:
                code, words = server.rcpt(address)
            if code == 250 and text is not None:
                letter = f"From: {sender}\r\nTo: {address}\r\nSubject: {text}\r\n\r\n{text}\r\n"
                code, words = server.data(letter)
            return Said(code, words.decode())

    async def submit(self, user: str, password: str) -> Said:
        """What the server says to a log-in for sending."""
        return await asyncio.to_thread(self._submit, user, password)

    def _submit(self, user: str, password: str) -> Said:
        with _smtp(self.submission) as server:
            try:
                code, words = server.login(user, password)
            except smtplib.SMTPAuthenticationError as error:
                text = error.smtp_error
                return Said(error.smtp_code, text.decode() if isinstance(text, bytes) else text)
            return Said(code, words.decode())

    async def read(self, user: str, password: str) -> str:
        """``OK``, ``NO``, or ``closed`` when the server hangs up without a word."""
        return await asyncio.to_thread(self._read, user, password)

    def _read(self, user: str, password: str) -> str:
        if self.imap.tls:
            server: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                self.imap.host, self.imap.port, ssl_context=_any_certificate(), timeout=PATIENCE
            )
        else:
            server = imaplib.IMAP4(self.imap.host, self.imap.port, timeout=PATIENCE)
            if "STARTTLS" in server.capabilities:
                server.starttls(_any_certificate())
        try:
            return server.login(user, password)[0]
        except (imaplib.IMAP4.abort, ConnectionError):
            return "closed"
        except imaplib.IMAP4.error:
            return "NO"
        finally:
            server.shutdown()


def _smtp(endpoint: Endpoint) -> smtplib.SMTP:
    """A connection that was greeted. The sixth within a second is closed without a word, so some patience is needed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _greeted(endpoint)
        except smtplib.SMTPServerDisconnected:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.25)


def _greeted(endpoint: Endpoint) -> smtplib.SMTP:
    if endpoint.tls:
        return smtplib.SMTP_SSL(endpoint.host, endpoint.port, context=_any_certificate(), timeout=PATIENCE)
    server = smtplib.SMTP(endpoint.host, endpoint.port, local_hostname="peer.test", timeout=PATIENCE)
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=_any_certificate())
    return server

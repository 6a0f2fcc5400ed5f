"""SMTP and IMAP, just enough to see who gets in and which mail is taken (facts/stalwart.md 11.5, 11.6)."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sandbox.stalwart.server import StalwartStandIn


async def serve_smtp(standin: StalwartStandIn, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One SMTP session."""
    recipients: list[str] = []
    _say(writer, "220 mail.dezky.test Stalwart ESMTP at your service")
    while line := (await reader.readline()).decode(errors="replace").strip():
        verb = line.split(" ", 1)[0].upper()
        if verb == "EHLO":
            _say(writer, "250-mail.dezky.test\r\n250-AUTH PLAIN\r\n250 8BITMIME")
        elif verb == "AUTH":
            _say(writer, _authenticate(standin, line.rpartition(" ")[2]))
        elif line.upper().startswith("MAIL FROM"):
            recipients = []
            _say(writer, "250 2.1.0 OK")
        elif line.upper().startswith("RCPT TO"):
            address = line.partition("<")[2].partition(">")[0].lower()
            answer = _recipient(standin, address)
            recipients += [address] if answer.startswith("250") else []
            _say(writer, answer)
        elif verb == "DATA":
            _say(writer, "354 Start mail input; end with <CRLF>.<CRLF>")
            message = await reader.readuntil(b"\r\n.\r\n")
            for address in recipients:
                standin.objects.mail[_mailbox(standin, address)].append(message[:-5])
            _say(writer, "250 2.0.0 Message queued")
        elif verb == "QUIT":
            _say(writer, "221 2.0.0 Bye.")
            break
        else:
            _say(writer, "500 5.5.1 Invalid command.")
    writer.close()


def _authenticate(standin: StalwartStandIn, token: str) -> str:
    _, user, password = base64.b64decode(token).decode().split("\0")
    account = standin.by_password(user, password)
    if account is None:
        return "535 5.7.8 Authentication credentials invalid."
    if standin.disabled(account) & {"authenticate", "emailSend"}:
        return "550 5.7.1 Your account is not authorized to use this service."
    return "235 2.7.0 Authentication succeeded."


def _recipient(standin: StalwartStandIn, address: str) -> str:
    """Suspended accounts still take mail."""
    domain = address.rpartition("@")[2]
    if domain not in standin.objects.names:
        return "550 5.1.2 Relay not allowed."
    if address not in standin.objects.addresses:
        return "550 5.1.2 Mailbox does not exist."
    return "250 2.1.5 OK"


def _mailbox(standin: StalwartStandIn, address: str) -> str:
    kind, key = standin.objects.addresses[address]
    return standin.objects.address(standin.objects.by_type[kind][key])


async def serve_imap(standin: StalwartStandIn, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One IMAP session. A suspended user gets no answer line: the connection is closed."""
    _say(writer, "* OK [CAPABILITY IMAP4rev1] Stalwart IMAP4rev1 at your service.")
    while line := (await reader.readline()).decode(errors="replace").strip():
        tag, verb, *rest = line.split(" ")
        if verb.upper() == "LOGIN":
            user, password = (part.strip('"') for part in rest[:2])
            account = standin.by_password(user, password)
            if account is not None and not standin.may_log_in(account):
                break
            good = f"{tag} OK [CAPABILITY IMAP4rev1] Authentication successful"
            _say(writer, good if account else f"{tag} NO [AUTHENTICATIONFAILED] Authentication failed")
        elif verb.upper() == "LOGOUT":
            _say(writer, f"* BYE\r\n{tag} OK LOGOUT completed")
            break
        elif verb.upper() == "CAPABILITY":
            _say(writer, f"* CAPABILITY IMAP4rev1\r\n{tag} OK CAPABILITY completed")
        else:
            _say(writer, f"{tag} BAD Unknown command")
    writer.close()


def _say(writer: asyncio.StreamWriter, line: str) -> None:
    writer.write(f"{line}\r\n".encode())

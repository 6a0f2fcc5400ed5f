"""Live credentials in a record (facts/ocis.md 4.3), replaced before anything of it is kept. Pure.

Whoever has the token of a public link or of an invitation may come in. It stands in fields of its own, in the invite
link, and inside the message. What is kept instead is a keyed hash, so records about one link can still be brought
together, and nobody can guess a token without the key.
"""

from __future__ import annotations

import hashlib
import hmac
import re

MARK = b"hmac-sha256:"
"""Stands before a hash that took the place of a token."""
SURELY_A_TOKEN = 8
"""Bytes from which other copies of a token in the same text are replaced too; OCIS makes tokens of 15."""

# Values reach to the end of the text also where the closing quote is missing: a line may have been cut off.
_PLACES = re.compile(
    rb"""
      "\w*[Tt]oken\\*" \s*+ : \s*+ \\*" (?P<field> (?: [^"\\] | \\[^"] )*+ )
    | "InviteLink\\*" \s*+ : \s*+ \\*" (?P<link> (?: [^"\\] | \\[^"] )*+ )
    | removed[ ]public[ ]link[ ]with[ ]id:' (?P<removed> [^'"]*+ )  # the token, where the link's id is not known
    | \b[Tt]oken[ ]' (?P<said> [^'"]*+ )
    | \b[Tt]oken= (?P<query> [\w.~-]*+ )
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:u00(?P<hex>[2-7][0-9A-Fa-f])|.)", re.DOTALL)
_KEPT_ESCAPES = b'"\\<>&\x7f'
"""What JSON needs escaped, and what OCIS escapes beside it."""


def token_hash(token: bytes, key: bytes) -> bytes:
    """What stands in the place of ``token``: the same for the same token, and nothing without the key."""
    return MARK + hmac.digest(key, token, hashlib.sha256).hex().encode()


def without_tokens(text: bytes, key: bytes) -> bytes:
    """``text`` with a keyed hash in the place of every token; a text without any comes back as it is.

    It works on the text, not on what it means, so a line that is no JSON gives its tokens up as well. Letters and
    digits that stand as escapes, which OCIS never writes, are written out first: no token hides behind them.
    """
    # Most lines hold none of these, and every line comes through here.
    if not (b"oken" in text or b"\\u00" in text or b"InviteLink" in text or b"link with id:'" in text):
        return text
    plain = _ESCAPE.sub(_written_out, text)
    tokens = {token for found in _PLACES.finditer(plain) for token in found.groups() if token}
    if not tokens:
        return plain
    replaced = _PLACES.sub(lambda found: _place(found, key), plain)
    copies = sorted((token for token in tokens if len(token) >= SURELY_A_TOKEN), key=len, reverse=True)
    if not copies:
        return replaced
    anywhere = re.compile(b"|".join(map(re.escape, copies)))
    return anywhere.sub(lambda found: token_hash(found[0], key), replaced)


def _written_out(escape: re.Match[bytes]) -> bytes:
    if not escape["hex"]:
        return escape[0]
    letter = bytes([int(escape["hex"], 16)])
    return escape[0] if letter in _KEPT_ESCAPES else letter


def _place(found: re.Match[bytes], key: bytes) -> bytes:
    """One place with its token replaced; an empty one stays empty."""
    name = found.lastgroup or ""
    token = found[name]
    if not token:
        return found[0]
    start = found.start(name) - found.start()
    return found[0][:start] + token_hash(token, key) + found[0][start + len(token) :]

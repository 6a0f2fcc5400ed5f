"""The keys of the log: one for each use, told apart by name and id (facts/audit-log.md 2.4; C2SP signed-note). Pure.

::

    log        <origin>            Ed25519, kind 0x01   signs checkpoints
    time       <origin>/time       Ed25519, kind 0x04   cosigns them with the time
    manifest   <origin>/manifest   Ed25519, kind 0x01   signs the archive's manifests
    HMAC       <origin>/hmac-<n>   symmetric            whoever checks it can forge it, so it is never enough alone
"""

from __future__ import annotations

import hmac
import re
from enum import IntEnum
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dezky_operator.audit.base64text import from_base64, to_base64
from dezky_operator.audit.errors import KeyFormatError

SEED = PUBLIC = 32
SIGNATURE = 64
SHORTEST_SECRET = 32
"""Bytes of AUDIT_SIGNING_KEY."""
HMAC_KIND = b"\xffdezky.eu/hmac-sha256/v1"
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]+")
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


class Kind(IntEnum):
    """The signature types of C2SP that are used here."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


class VerifyKey(msgspec.Struct, frozen=True):
    """A public key under its name. Two keys of one name have different ids."""

    name: str
    kind: Kind
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that a signature line begins with."""
        return key_id(self.name, bytes([self.kind]) + self.public)

    @property
    def vkey(self) -> str:
        """The printed form: name, id in hex, kind and key in base64."""
        return f"{self.name}+{self.id.hex()}+{to_base64(bytes([self.kind]) + self.public)}"

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether these 64 bytes sign ``message``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey:
    """A private key under its name. It is never printed."""

    def __init__(self, name: str, kind: Kind, seed: bytes) -> None:
        """``seed`` is 32 random bytes. Raises KeyFormatError."""
        if len(seed) != SEED:
            raise KeyFormatError(f"the seed of {name} must have {SEED} bytes, found {len(seed)}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verify_key = VerifyKey(checked_name(name), kind, public)

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)


class HmacKey:
    """The optional symmetric key (AUDIT_SIGNING_KEY)."""

    def __init__(self, name: str, secret: bytes) -> None:
        """``secret`` has at least 32 bytes. Raises KeyFormatError."""
        if len(secret) < SHORTEST_SECRET:
            raise KeyFormatError(f"AUDIT_SIGNING_KEY must have at least {SHORTEST_SECRET} bytes, found {len(secret)}")
        self.name = checked_name(name)
        self.id = key_id(name, HMAC_KIND)
        self._secret = secret

    def sign(self, message: bytes) -> bytes:
        """HMAC-SHA-256, 32 bytes."""
        return hmac.digest(self._secret, message, "sha256")

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether these 32 bytes sign ``message``; takes as long for any that do not."""
        return hmac.compare_digest(self.sign(message), signature)


def log_key(origin: str, seed: bytes) -> SigningKey:
    """The key that signs checkpoints."""
    return SigningKey(origin, Kind.ED25519, seed)


def time_key(origin: str, seed: bytes) -> SigningKey:
    """The key that says when a checkpoint was made."""
    return SigningKey(f"{origin}/time", Kind.COSIGNATURE, seed)


def manifest_key(origin: str, seed: bytes) -> SigningKey:
    """The key that signs the archive's manifests."""
    return SigningKey(f"{origin}/manifest", Kind.ED25519, seed)


def hmac_key(origin: str, number: int, secret: bytes) -> HmacKey:
    """The ``number``-th symmetric key of a log, from 1."""
    return HmacKey(f"{origin}/hmac-{number}", secret)


def key_id(name: str, material: bytes) -> bytes:
    """SHA-256(name, LF, kind and key)[:4]. Not an identity: names must be compared, too."""
    return sha256(name.encode() + b"\n" + material).digest()[:4]


def checked_name(name: str) -> str:
    """``name``, if a key may have it: no spaces, no plus, no control characters. Raises KeyFormatError."""
    if not _NAME.fullmatch(name):
        raise KeyFormatError(f"a key's name holds no spaces and no '+', found {name[:128]!r}")
    return name


def parse_vkey(text: str) -> VerifyKey:
    """A key from its printed form. Raises KeyFormatError, which says what is wrong."""
    found = _VKEY.fullmatch(text)
    if found is None:
        raise KeyFormatError("a vkey looks like name+8 hex digits+base64")
    try:
        material = from_base64(found[3])
    except ValueError as error:
        raise KeyFormatError(f"the key in the vkey of {found[1]} is {error}") from None
    if len(material) != 1 + PUBLIC or material[0] not in set(Kind):
        raise KeyFormatError(f"the vkey of {found[1]} holds no Ed25519 key of a known kind")
    key = VerifyKey(checked_name(found[1]), Kind(material[0]), material[1:])
    if key.id.hex() != found[2]:
        raise KeyFormatError(f"the vkey of {found[1]} says id {found[2]}, its key has {key.id.hex()}")
    return key

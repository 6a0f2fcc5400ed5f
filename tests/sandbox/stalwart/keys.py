"""DKIM keys: what a private key may look like, and those the server makes by itself (facts/stalwart.md 2.4, 11.3)."""

from __future__ import annotations

import base64
import functools
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from tests.sandbox.stalwart.errors import SetError

_PEM = re.compile(r"\s*-----BEGIN (RSA )?PRIVATE KEY-----\s(.+?)-----END (RSA )?PRIVATE KEY-----\s*", re.DOTALL)
_V2_HEAD, _V2_LENGTH = bytes.fromhex("020101300506032b657004220420"), 32
"""An Ed25519 key in PKCS#8 version 2 carries the public half behind these bytes and the seed."""


@functools.cache
def pem(kind: str) -> str:
    """One key of each kind is enough: nobody checks the signatures of a stand-in."""
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if "Rsa" in kind
        else ed25519.Ed25519PrivateKey.generate()
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key(kind: str, secret: str) -> str:
    """The public half as the zone shows it: RSA as SPKI, Ed25519 raw, both in base64. Raises SetError."""
    key = _loaded(secret)
    if "Rsa" in kind and isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < 2048:
            raise _refused("TooSmall")
        found = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    elif "Ed25519" in kind and isinstance(key, ed25519.Ed25519PrivateKey):
        found = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        raise _refused("another algorithm")
    return base64.b64encode(found).decode()


def _loaded(secret: str) -> object:
    armour = _PEM.fullmatch(secret)
    if armour is None:
        raise _refused("no PEM")
    try:
        der = base64.b64decode("".join(armour[2].split()), validate=True)
        if (at := der.find(_V2_HEAD)) >= 0:
            seed = der[at + len(_V2_HEAD) :][:_V2_LENGTH]
            return ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        return load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _refused("not a key") from error


def _refused(why: str) -> SetError:
    return SetError("invalidProperties", description=f"Failed to validate DKIM signature: {why}")

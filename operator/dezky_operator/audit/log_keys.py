"""The keys of one log: who signs it, who says when, and what its people's keys are wrapped in (facts/audit-log.md 2.4).

Each has one use. They are kept together in a place of their own, never beside the log: whoever has them can sign lies
from then on, and read what is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from dezky_operator.audit.checkpoint import Signers
from dezky_operator.audit.errors import KeyFormatError
from dezky_operator.audit.keys import SEED, HmacKey, SigningKey, hmac_key, log_key, manifest_key, time_key

LOG, TIME, MANIFEST, MASTER, DEDUPE, HMAC = "log", "time", "manifest", "master", "dedupe", "hmac"
NEEDED = (LOG, TIME, MANIFEST, MASTER, DEDUPE)


class LogKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What a writer of the log needs.

    Attributes:
        log, time, manifest: signing keys, each for its own use.
        master: wraps the tenants' keys, 32 bytes.
        dedupe: keys hashes of what sources send without an id, and digests of names, 32 bytes; never rotated: with
            another one every event of such a source would come as new.
        hmac: the optional symmetric key.
    """

    log: SigningKey
    time: SigningKey
    manifest: SigningKey
    master: bytes
    dedupe: bytes
    hmac: HmacKey | None = None

    @property
    def signers(self) -> Signers:
        """Who signs checkpoints."""
        return Signers((self.log,), self.time, self.hmac)


def parse(data: Mapping[str, bytes], *, origin: str, signing_key: bytes | None = None) -> LogKeys:
    """The keys of the log ``origin`` from what is kept of them.

    Args:
        data: raw bytes by name, as in the Secret.
        origin: name of the log.
        signing_key: AUDIT_SIGNING_KEY, which takes the place of ``hmac`` in ``data``.

    Raises:
        KeyFormatError: a key is missing or has another length; the text names it and never shows it.
    """
    for name in NEEDED:
        if len(data.get(name, b"")) != SEED:
            found = f"found {len(data[name])}" if name in data else "it is missing"
            raise KeyFormatError(f"key {name} of the audit log must have {SEED} bytes, {found}")
    secret = signing_key or data.get(HMAC)
    return LogKeys(
        log=log_key(origin, data[LOG]),
        time=time_key(origin, data[TIME]),
        manifest=manifest_key(origin, data[MANIFEST]),
        master=data[MASTER],
        dedupe=data[DEDUPE],
        hmac=hmac_key(origin, 1, secret) if secret else None,
    )


def fresh(random: Callable[[int], bytes]) -> dict[str, bytes]:
    """New keys for a new log; ``random`` is the system's generator."""
    return {name: random(SEED) for name in NEEDED}

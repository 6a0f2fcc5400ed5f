"""The keys of one log: who signs it, who says when, and what its people's keys are wrapped in (facts/audit-log.md 2.4).

Each has one use. They are kept together in a place of their own, never beside the log: whoever has them can sign lies
from then on, and read what is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from dezky_operator.audit.checkpoint import Signers
from dezky_operator.audit.errors import KeyFormatError
from dezky_operator.audit.keys import SEED, HmacKey, SigningKey, VerifyKey, hmac_key, log_key, manifest_key, time_key
from dezky_operator.audit.note import parse as parse_note

LOG, TIME, MANIFEST, MASTER, DEDUPE, HMAC = "log", "time", "manifest", "master", "dedupe", "hmac"
NEEDED = (LOG, TIME, MANIFEST, MASTER, DEDUPE)


class LogKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What a writer of the log needs.

    Attributes:
        log: the keys that sign checkpoints, oldest first: each follows the one before it.
        time, manifest: signing keys, each for its own use.
        master: wraps the tenants' keys, 32 bytes.
        dedupe: keys hashes of what sources send without an id, and digests of names, 32 bytes; never rotated: with
            another one every event of such a source would come as new.
        hmac: the optional symmetric key.
    """

    log: tuple[SigningKey, ...]
    time: SigningKey
    manifest: SigningKey
    master: bytes
    dedupe: bytes
    hmac: HmacKey | None = None

    def first(self, note: bytes | None, *, epoch: int) -> VerifyKey:
        """The log's first key: the one that signed its first checkpoint ``note``.

        A log that has no checkpoint begins with the oldest key; one of a later epoch with the newest, as it does not go
        back to one that was replaced.

        Raises:
            KeyFormatError: the key that signed is not among them.
        """
        if note is None:
            return self.log[0 if epoch == 1 else -1].verify_key
        signed = {signature.id for signature in parse_note(note).signatures}
        for key in self.log:
            if key.verify_key.id in signed:
                return key.verify_key
        raise KeyFormatError("the key that signed the log's first checkpoint is not among them")

    def signers(self, first: VerifyKey) -> Signers:
        """Who signs the log that began with the key ``first``. Raises KeyFormatError when that is not among them."""
        known = [key.verify_key for key in self.log]
        if first not in known:
            raise KeyFormatError(f"the log's first key {first.id.hex()} is not among them")
        return Signers(self.log[known.index(first) :], self.time, self.hmac)


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
    seeds = [data[LOG]]
    while (seed := data.get(name_of(len(seeds) + 1))) is not None:
        seeds.append(seed)
    secret = signing_key or data.get(HMAC)
    return LogKeys(
        log=tuple(log_key(origin, seed) for seed in seeds),
        time=time_key(origin, data[TIME]),
        manifest=manifest_key(origin, data[MANIFEST]),
        master=data[MASTER],
        dedupe=data[DEDUPE],
        hmac=hmac_key(origin, 1, secret) if secret else None,
    )


def name_of(number: int) -> str:
    """Under which name the ``number``-th key that signs checkpoints is kept, from 1."""
    return LOG if number == 1 else f"{LOG}-{number}"


def next_name(data: Mapping[str, bytes]) -> str:
    """The name of the key that follows those in ``data``."""
    number = 1
    while name_of(number) in data:
        number += 1
    return name_of(number)


def fresh(random: Callable[[int], bytes]) -> dict[str, bytes]:
    """New keys for a new log; ``random`` is the system's generator."""
    return {name: random(SEED) for name in NEEDED}

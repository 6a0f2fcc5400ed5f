"""Keys of people and tenants while they are in use (facts/audit-log.md 2.8). No I/O: the keys come through a parameter.

What is made of a key (a pseudonym, a blind index) is kept with it, since the same few people act again and again, and
is forgotten with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

import msgspec

from dezky_operator.audit.commitments import blind_index, pseudonym
from dezky_operator.audit.errors import SealError
from dezky_operator.audit.sealing import KEY, expanded, extracted

MOST = 20_000
"""Entries kept of each kind; about 8 MiB in all, 20 MiB at the longest texts."""
LONGEST = 320
"""Characters of an id or value that is kept: an e-mail address has no more. What a sender makes longer is not."""


K = TypeVar("K")
V = TypeVar("V")


class Subject(msgspec.Struct, frozen=True, gc=False):
    """One person or object of a tenant: its key, the pseudonym under it, and what seals a text that names only it."""

    key: bytes
    ref: str
    extracted: bytes


class KeyRing:
    """Gives keys, from outside once and then from memory."""

    def __init__(self, subject_key: Callable[[str, str], bytes], tenant_key: Callable[[str], bytes]) -> None:
        """``subject_key(tenant, subject)`` and ``tenant_key(tenant)`` give 32 bytes each, new ones on first use."""
        self._subject_key = subject_key
        self._tenant_key = tenant_key
        self._subjects: dict[tuple[str, str], Subject] = {}
        self._tenants: dict[str, bytes] = {}
        self._indexes: dict[tuple[str, str], bytes] = {}

    def subject(self, tenant: str, subject: str) -> Subject:
        """One person or object of a tenant. Raises SealError when its key is none."""
        found = self._subjects.get((tenant, subject))
        if found is None:
            key = _checked(self._subject_key(tenant, subject))
            found = Subject(key, pseudonym(key, subject), extracted([(subject, key)], tenant=key))
            if len(subject) <= LONGEST:
                _room(self._subjects)[tenant, subject] = found
        return found

    def tenant(self, tenant: str) -> bytes:
        """The key of a tenant; ``""`` is one like any other. Raises SealError when it is none."""
        found = self._tenants.get(tenant)
        if found is None:
            found = _room(self._tenants)[tenant] = _checked(self._tenant_key(tenant))
        return found

    def index(self, tenant: str, value: str) -> bytes:
        """What a value is found by."""
        found = self._indexes.get((tenant, value))
        if found is None:
            found = blind_index(self.tenant(tenant), value)
            if len(value) <= LONGEST:
                _room(self._indexes)[tenant, value] = found
        return found

    def text_key(self, dk: bytes, tenant: str, named: Collection[str]) -> bytes:
        """The key of the text of one event that names these ids: that of :func:`sealing.text_key`, sooner."""
        subjects = [(name, self.subject(tenant, name)) for name in set(named) if name]
        if len(subjects) == 1:
            return expanded(subjects[0][1].extracted, dk)
        keys = [(name, subject.key) for name, subject in subjects]
        return expanded(extracted(keys, tenant=self.tenant(tenant)), dk)

    def forget(self, tenant: str) -> None:
        """Drop everything of a tenant's people: after an erasure nothing may be made with an erased key."""
        for held in (self._subjects, self._indexes):
            for entry in [entry for entry in held if entry[0] == tenant]:
                del held[entry]
        self._tenants.pop(tenant, None)


def _checked(key: bytes) -> bytes:
    if len(key) != KEY:
        raise SealError(f"keys of subjects and tenants have {KEY} bytes, found {len(key)}")
    return key


def _room(held: dict[K, V]) -> dict[K, V]:
    """The same dictionary, emptied when it is full: what is needed comes again."""
    if len(held) >= MOST:
        held.clear()
    return held

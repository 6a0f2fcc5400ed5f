"""The keys of tenants and people, kept wrapped in the store (facts/audit-log.md 2.8).

Each is 32 random bytes, made at its first use. A tenant's is wrapped by the installation's key, which is kept
elsewhere; a person's by the tenant's. The rows name nobody: deleting one makes what was sealed with it unreadable for
ever, also in backups and archives that keep the sealed bytes.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Collection, Iterable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dezky_operator.audit.errors import SealError
from dezky_operator.audit.keyring import MOST, KeyRing
from dezky_operator.audit.sealing import KEY, NONCE
from dezky_operator.store.interface import ConflictError, Reader, Rows, Store
from dezky_operator.store.tables import KEYS, KeyRow

Named = tuple[str, str]
"""A tenant, and the id of a person or object of it; an empty id is the tenant itself."""
TRIES = 5
"""How often another process may make the same key first: once is enough, as nobody takes one away meanwhile."""


class KeyStore:
    """Gives keys that were made sure of before.

    Attributes:
        ring: what gives them while events are prepared; it answers from memory only.
    """

    def __init__(self, store: Store, master: bytes, *, random: Callable[[int], bytes] = os.urandom) -> None:
        """``master`` is the installation's key, 32 bytes. Raises SealError."""
        if len(master) != KEY:
            raise SealError(f"the installation's key has {KEY} bytes, found {len(master)}")
        self._store, self._master, self._random = store, master, random
        self._keys: dict[Named, bytes] = {}
        self.ring = KeyRing(
            lambda tenant, subject: self._known((tenant, subject)), lambda tenant: self._known((tenant, ""))
        )

    async def ensure(self, named: Collection[Named]) -> None:
        """Have the keys of ``named`` and of their tenants at hand, making those that do not exist.

        Raises:
            SealError: a stored key does not open: the installation's key is another one than it was made under.
            UnavailableError: the store.
        """
        if len(self._keys) > MOST:
            self._keys.clear()
        await self._ensure({(tenant, "") for tenant, _ in named}, lambda _: self._master)
        await self._ensure({one for one in named if one[1]}, lambda one: self._keys[one[0], ""])

    async def find(self, named: Collection[Named]) -> None:
        """Have those of ``named`` at hand that exist. Makes none: for whoever only reads, and what was erased stays so.

        Raises:
            SealError: as :meth:`ensure`.
            UnavailableError: the store.
        """
        await self._find({(tenant, "") for tenant, _ in named}, lambda _: self._master)
        people = {one for one in named if one[1] and (one[0], "") in self._keys}
        await self._find(people, lambda one: self._keys[one[0], ""])

    async def _find(self, named: set[Named], wrapping: Callable[[Named], bytes]) -> None:
        wanted = {self._id(one, wrapping(one)): one for one in sorted(named - self._keys.keys())}
        self._open(await self._stored(wanted), wanted, wrapping)

    async def _ensure(self, named: set[Named], wrapping: Callable[[Named], bytes]) -> None:
        wanted = {self._id(one, wrapping(one)): one for one in sorted(named - self._keys.keys())}
        for _ in range(TRIES):
            self._open(await self._stored(wanted), wanted, wrapping)
            absent = [row_id for row_id, one in wanted.items() if one not in self._keys]
            if not absent:
                return
            await self._make(absent, wanted, wrapping)
        raise SealError(f"{len(absent)} keys were made {TRIES} times and are not there")

    async def _stored(self, wanted: Mapping[str, Named]) -> list[KeyRow]:
        if not wanted:
            return []

        async def look(rows: Reader) -> list[KeyRow]:
            return list((await rows.get_many(KEYS, wanted)).values())

        return await self._store.read(look)

    async def _make(
        self, absent: Iterable[str], wanted: Mapping[str, Named], wrapping: Callable[[Named], bytes]
    ) -> None:
        """Make keys; who came second finds the other's with the next look."""
        made = [
            KeyRow(row_id, wanted[row_id][0], self._wrapped(self._random(KEY), row_id, wrapping(wanted[row_id])))
            for row_id in absent
        ]

        async def insert(rows: Rows) -> None:
            for row in made:
                try:
                    await rows.insert(KEYS, [row])
                except ConflictError:
                    continue

        await self._store.run(insert)

    def _open(self, rows: Iterable[KeyRow], wanted: Mapping[str, Named], wrapping: Callable[[Named], bytes]) -> None:
        for row in rows:
            one = wanted[row.id]
            nonce, sealed = row.wrapped[:NONCE], row.wrapped[NONCE:]
            try:
                self._keys[one] = AESGCM(wrapping(one)).decrypt(nonce, sealed, row.id.encode())
            except InvalidTag:
                raise SealError(
                    "a key in the store does not open under the installation's key: give the one it was made under"
                ) from None

    def _wrapped(self, key: bytes, row_id: str, wrapping: bytes) -> bytes:
        nonce = self._random(NONCE)
        return nonce + AESGCM(wrapping).encrypt(nonce, key, row_id.encode())

    def _id(self, one: Named, wrapping: bytes) -> str:
        """The row's id: the same in every process, and telling nobody who it is. A tenant's is its own: found under
        another key of the installation, it does not open, and no second one is made.
        """
        tenant, subject = one
        if not subject:
            return f"tenant/{tenant}"
        return hmac.digest(wrapping, f"{tenant}\0{subject}".encode("utf-8", "surrogatepass"), "sha256").hex()

    def _known(self, one: Named) -> bytes:
        try:
            return self._keys[one]
        except KeyError:
            raise SealError("a key was asked for that nobody made sure of") from None

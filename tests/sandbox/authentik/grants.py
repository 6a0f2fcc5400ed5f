"""What was handed out at sign-in: codes, access and refresh tokens, recovery links. All of them end with their user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.sandbox.authentik.kinds import Record

UNITS = {"microseconds": 1e-6, "milliseconds": 1e-3, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400,
         "weeks": 604800}  # fmt: skip


def seconds(text: str) -> float:
    """The length of ``hours=1;minutes=30``. Raises ValueError for anything else."""
    total = 0.0
    for part in text.split(";"):
        unit, _, number = part.strip().partition("=")
        if unit not in UNITS:
            raise ValueError(f"{unit} is not a unit")
        total += float(number) * UNITS[unit]
    return total


@dataclass
class Grant:
    """One of them. ``session`` is the login session it came from; without one it outlives every session."""

    key: str
    kind: str
    user: int
    expires: float
    provider: int = 0
    scope: str = ""
    session: str | None = None
    number: int = 0
    claims: Record = field(default_factory=dict)
    details: Record = field(default_factory=dict)


class Grants:
    """Every grant by its key, findable by user."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_key: dict[str, Grant] = {}
        self._of_user: dict[int, set[str]] = defaultdict(set)
        self._made = 0
        self.spent: dict[str, int] = {}
        """Refresh tokens that were exchanged, with their user: seeing one again is a replay."""

    def add(self, grant: Grant) -> Grant:
        """Hand it out."""
        self._made += 1
        grant.number = self._made
        self._by_key[grant.key] = grant
        self._of_user[grant.user].add(grant.key)
        return grant

    def find(self, key: str, kind: str) -> Grant | None:
        """The living grant with this key."""
        grant = self._by_key.get(key)
        if grant is None or grant.kind != kind:
            return None
        if grant.expires <= self._clock():
            self.drop(grant)
            return None
        return grant

    def drop(self, grant: Grant) -> None:
        """It is gone for good."""
        self._by_key.pop(grant.key, None)
        self._of_user[grant.user].discard(grant.key)

    def spend(self, grant: Grant) -> None:
        """It was exchanged, and must not come again."""
        self.drop(grant)
        if grant.kind == "refresh":
            self.spent[grant.key] = grant.user

    def of_kind(self, kind: str) -> list[Grant]:
        """All of a kind, oldest first."""
        return [grant for grant in self._by_key.values() if grant.kind == kind]

    def of_user(self, user: int) -> list[Grant]:
        """All of a user."""
        return [self._by_key[key] for key in self._of_user.get(user, ())]

    def end_user(self, user: int) -> None:
        """Everything a user holds."""
        for grant in self.of_user(user):
            self.drop(grant)

    def end_session(self, user: int, session: str) -> int:
        """The access tokens of a login session; refresh tokens stay (facts/authentik.md 11.2). How many."""
        ended = [grant for grant in self.of_user(user) if grant.kind == "access" and grant.session == session]
        for grant in ended:
            self.drop(grant)
        return len(ended)

    def end_provider(self, provider: int) -> None:
        """Deleting a provider takes its tokens along."""
        for grant in [grant for grant in self._by_key.values() if grant.provider == provider]:
            self.drop(grant)

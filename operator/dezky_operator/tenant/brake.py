"""The brake on deletions: pruning a Git repository by mistake harms nobody (design 6, Delete). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dezky_operator.tenant.record import Record, RecordState
from dezky_operator.tenant.suspension import time_of
from dezky_operator.tenant.world import World

WINDOW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class MassDeletion:
    """``most``: how many Tenants may be deleted within ten minutes before the rest waits for a person."""

    most: int

    def why(self, deleted_at: str, world: World) -> str | None:
        """Why a deletion at this time must wait for a person; None when it need not."""
        begins, ends = time_of(deleted_at) - WINDOW, time_of(deleted_at) + WINDOW
        times = [one.deleted_at for one in world.records if _counts(one)]
        times += [one.metadata.deletion_timestamp for one in world.others]
        count = 1 + sum(begins <= time_of(moment) <= ends for moment in times if moment is not None)
        if count <= self.most:
            return None
        return (
            f"{count} tenants were deleted within ten minutes, more than {self.most} (setting deletion.brake). "
            "Annotate their tombstones with dezky.eu/release-deletions=true where that was meant."
        )


def _counts(record: Record) -> bool:
    """Retained tenants lost nothing, and who was released was meant."""
    return record.state not in {RecordState.RETAINED, RecordState.RESTORED} and not record.released

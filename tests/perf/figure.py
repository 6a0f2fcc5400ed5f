"""One figure of the bench: a JSON line with its budget and with a peer or limit beside it (design 11)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Figure:
    """``beside`` names a peer measured in the same run, or a limit, and ``peer`` is its value in the same unit."""

    name: str
    value: float
    unit: str
    budget: float
    beside: str
    peer: float
    better: Literal["lower", "higher"] = "lower"

    @property
    def ok(self) -> bool:
        """Whether the budget is kept."""
        return self.value <= self.budget if self.better == "lower" else self.value >= self.budget

    def show(self) -> None:
        """Print the line. A missed budget is printed as missed, not raised."""
        line = {
            "figure": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "budget": self.budget,
            "better": self.better,
            "beside": {"name": self.beside, "value": round(self.peer, 3)},
            "ok": self.ok,
        }
        print(json.dumps(line), flush=True)


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of all values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -int(-share * len(ranked) // 1) - 1))]

"""How the three systems of one tenant stand after a reconcile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dezky_operator.integrations.ocis.observe import Observed as FilesObserved
from dezky_operator.integrations.steps import Step, System
from dezky_operator.tenant.converge import Report
from dezky_operator.tenant.parts import MailPicture, SignInPicture


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """The three systems."""

    sign_in: Report[SignInPicture]
    mail: Report[MailPicture]
    files: Report[FilesObserved]

    @property
    def all(self) -> tuple[Report[Any], ...]:
        """In the order of the status."""
        return (self.sign_in, self.mail, self.files)

    @property
    def ready(self) -> bool:
        """All three are as declared."""
        return all(report.ready for report in self.all)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is left to do."""
        return tuple(step for report in self.all for step in report.plan.steps)

    @property
    def locked(self) -> tuple[System, ...]:
        """The systems that are as declared: those that are locked, where a lock is declared."""
        return tuple(report.system for report in self.all if report.ready)

    @property
    def retry_after(self) -> float:
        """Seconds until the most patient of them may be asked again."""
        return max(report.retry_after for report in self.all)

"""Who read the log is in the log: reads, exports and verifications of an installation's own store are events of it.

A copy is left as it is: it may be evidence.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import NoReturn

from dezky_operator.audit.draft import prepare
from dezky_operator.audit.errors import SealError
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.ingest.own.acts import act, once
from dezky_operator.store.interface import Store


async def tell(store: Store, origin: str, action: str, about: Mapping[str, str | int]) -> None:
    """Append that somebody did ``action``. Raises NotAppendedError and UnavailableError."""
    event = act(action, ext=once(), now=from_unix_ns(time.time_ns()), resource="log", data=about)
    log = Sequencer(store, origin=origin, clock=time.time_ns, clock_difference=lambda: 0.0)
    await log.append([prepare(event, keys=KeyRing(_nobody, _nobody), random=os.urandom)])


def _nobody(*_named: str) -> NoReturn:
    """The event names nobody, so no key is needed, and none is at hand."""
    raise SealError("an event about a reading names nobody")

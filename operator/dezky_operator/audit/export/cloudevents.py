"""Events as CloudEvents 1.0 in JSON. Pure.

``source`` and ``id`` together name one event for ever: the log and the AuditSource, and the number in the log.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dezky_operator.audit.view import View

TYPE = "eu.dezky.audit."


def cloud_event(view: View, origin: str) -> dict[str, Any]:
    """The envelope with the view as its data. The hash travels as an extension attribute, so routers see it."""
    event = {
        "specversion": "1.0",
        "id": str(view.seq),
        "source": f"/dezky/{origin}/{view.src}",
        "type": TYPE + view.action,
        "time": view.at,
        "datacontenttype": "application/json",
        "sequence": f"{view.seq:016d}",
        "leafhash": view.hash,
        "data": msgspec.to_builtins(view),
    }
    return event if not view.tenant_id else event | {"subject": f"tenant/{view.tenant_id}"}

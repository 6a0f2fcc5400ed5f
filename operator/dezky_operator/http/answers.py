"""What a sender of events is answered, counted by what became of its body; refusals also tell a person."""

from __future__ import annotations

from typing import TypeVar

import structlog
from aiohttp import web

from dezky_operator.config import WebhookSettings
from dezky_operator.http.body import BodyError, NoRoomError, TooLargeError
from dezky_operator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer", bound=web.Response)


class Answers:
    """Answers of one way in."""

    def __init__(self, metrics: Metrics, settings: WebhookSettings) -> None:
        self._metrics, self._settings = metrics, settings
        self.notice = ""
        """Why bodies are refused now, for a person; empty when they are not."""

    # -- taken ------------------------------------------------------------------------------

    def accepted(self, count: int) -> web.Response:
        """Every event is in the log."""
        return self._taken(web.json_response({"received": count}), "accepted")

    def spooled(self) -> web.Response:
        """The body is on disk. How many events it holds nobody knows yet."""
        return self._taken(web.json_response({}), "spooled")

    def set_aside(self, error: Exception) -> web.Response:
        """The body is on disk, as the log takes nothing now."""
        self._alarm(f"The audit log takes no events ({type(error).__name__}); what Stalwart sends waits on the disk.")
        return self._counted(web.json_response({}), "set-aside")

    # -- not let in -------------------------------------------------------------------------

    def closed(self) -> web.HTTPException:
        """No secret is set."""
        return self._counted(web.HTTPNotFound(), "closed")

    def unsigned(self) -> web.HTTPException:
        """There is no signature, or it is none."""
        return self._counted(web.HTTPUnauthorized(text="X-Signature is missing or malformed."), "unsigned")

    def forged(self) -> web.HTTPException:
        """No secret in use made the signature over this body."""
        return self._counted(web.HTTPUnauthorized(text="X-Signature does not fit the body."), "forged")

    def encoded(self) -> web.HTTPException:
        """The body is packed, so it would not be the bytes that were signed."""
        return self._counted(web.HTTPUnsupportedMediaType(text="Send the body as it was signed."), "encoded")

    def busy(self) -> web.HTTPException:
        """Too many at once."""
        return self._counted(web.HTTPServiceUnavailable(headers={"Retry-After": "1"}), "busy")

    def slow(self) -> web.HTTPException:
        """The body did not come in time."""
        return self._counted(web.HTTPRequestTimeout(), "slow")

    # -- not kept ---------------------------------------------------------------------------

    def unavailable(self, error: Exception) -> web.Response:
        """Neither log nor disk takes anything now; whoever sent it sends it again."""
        self._alarm(
            f"Neither the audit log ({type(error).__name__}) nor the disk of audit.directory takes events. Stalwart "
            "repeats them, and drops them after a day."
        )
        return self._counted(web.Response(status=503, headers={"Retry-After": "1"}), "unavailable")

    def refused(self, error: BodyError) -> web.HTTPException:
        """The body can not be kept on disk."""
        if isinstance(error, TooLargeError):
            return self.too_large()
        if isinstance(error, NoRoomError):
            self._alarm(
                f"Less than audit.webhook.reserveBytes ({self._settings.reserve_bytes}) would be free in "
                "audit.directory, so a body of Stalwart's was refused. Make room before Stalwart drops its events."
            )
            return self._counted(web.HTTPRequestEntityTooLarge(0, 0, text="No room."), "no-room")
        self._alarm("The disk of audit.directory fails, so a body of Stalwart's was refused. See to the disk.")
        return self._counted(web.HTTPServiceUnavailable(headers={"Retry-After": "1"}), "disk")

    def too_large(self) -> web.HTTPException:
        """The body is longer than any may be."""
        most = self._settings.max_body_bytes
        self._alarm(
            f"A body of Stalwart's is longer than audit.webhook.maxBodyBytes ({most}) and was refused; it grows until "
            "Stalwart drops its events. Raise that setting."
        )
        return self._counted(web.HTTPRequestEntityTooLarge(most, 0, text="Too large."), "too-large")

    def _taken(self, answer: web.Response, what: str) -> web.Response:
        self.notice = ""
        return self._counted(answer, what)

    def _counted(self, answer: Answer, what: str) -> Answer:
        self._metrics.webhook_requests.labels(what).inc()
        return answer

    def _alarm(self, notice: str) -> None:
        """Said once: Stalwart repeats what is refused every second."""
        if notice != self.notice:
            log.error("webhook_refuses", reason=notice)
        self.notice = notice

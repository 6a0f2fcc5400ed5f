"""The resources we read and write, typed as far as lightkube knows them."""

from __future__ import annotations

import httpx2
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_global_resource

GROUP = "dezky.eu"
VERSION = "v1alpha1"
FINALIZER = "dezky.eu/operator"
LABEL_TENANT = "dezky.eu/tenant"
LABEL_TENANT_ID = "dezky.eu/tenant-id"
LABEL_RECORD = "dezky.eu/record"
LABEL_STATE = "dezky.eu/state"

TenantResource = create_global_resource(GROUP, VERSION, "Tenant", "tenants")


def is_status(error: ApiError, code: int) -> bool:
    """Whether the API server answered with this HTTP status."""
    return error.status.code == code


def retry_after(error: BaseException) -> float:
    """Seconds the API server asks to wait with a 429; 0 when it does not say."""
    if not isinstance(error, httpx2.HTTPStatusError):
        return 0.0
    told = error.response.headers.get("Retry-After", "") if error.response is not None else ""
    return float(told) if told.isdigit() else 0.0

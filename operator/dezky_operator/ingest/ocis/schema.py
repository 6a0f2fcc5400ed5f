"""What OCIS writes for one record (facts/ocis.md 4.2): one flat object, whatever the action. Pure."""

from __future__ import annotations

import msgspec

APP = "admin_audit"
"""Every record's ``App``."""


def _named(field: str) -> str:
    return "".join("ID" if part == "id" else part.capitalize() for part in field.split("_"))


class Feature(msgspec.Struct, frozen=True, rename=_named):
    """One thing that was changed of a user."""

    name: str = ""
    value: str | None = None
    old_value: str | None = None


class Record(msgspec.Struct, frozen=True, rename=_named):
    """One record. An action fills the fields it has, often with nothing; the others are not there."""

    action: str = ""
    app: str = ""
    message: str = ""
    time: str = ""
    user: str = ""
    expiration_date: str = ""
    features: list[Feature] | None = None
    file_id: str = ""
    grantee_group_id: str = ""
    grantee_user_id: str = ""
    group_id: str = ""
    key: str = ""
    name: str = ""
    new_name: str = ""
    old_path: str = ""
    opaque: dict[str, str] | None = None
    owner: str = ""
    path: str = ""
    permissions: str = ""
    recipient_mail: str = ""
    share_id: str = ""
    share_owner: str = ""
    share_pass: bool = False
    share_token: str = ""
    share_type: str = ""
    share_with: str = ""
    space_id: str = ""
    success: bool = False
    token: str = ""
    type: str = ""
    user_id: str = ""


_DECODER = msgspec.json.Decoder(Record)


def decode(line: bytes) -> Record:
    """The record of a line.

    Raises:
        ValueError: it is none; the message is a short phrase about its form and holds nothing of its content.
    """
    if not line.strip():
        raise ValueError("an empty line")
    try:
        record = _DECODER.decode(line)
    except msgspec.ValidationError:
        raise ValueError("a field is not of the type that OCIS writes") from None
    except (msgspec.DecodeError, UnicodeError):
        raise ValueError("not JSON") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not record.action and record.app != APP:
        raise ValueError("not a record of the audit service")
    return record

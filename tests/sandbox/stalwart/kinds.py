"""The types of objects that the operator meets: properties, defaults and indexes (facts/stalwart.md 2.2 to 2.6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.sandbox.stalwart.names import EVENTS, QUOTAS, THROTTLE_KEYS, address, domain_name, local_part
from tests.sandbox.stalwart.permissions import EVERY
from tests.sandbox.stalwart.shapes import Fields, Flag, Id, Members, Number, Ordered, Shape, Text, Variants


@dataclass(frozen=True)
class Kind:
    """One type of object.

    Attributes:
        shapes: its properties that can be set.
        defaults: of those that may be left out.
        required: those that may not.
        fixed: those that are set at creation only.
        computed: those that only the server sets.
        indexed: what a query can filter by.
    """

    shapes: dict[str, Shape]
    defaults: dict[str, Any]
    required: tuple[str, ...] = ()
    fixed: frozenset[str] = frozenset()
    computed: frozenset[str] = frozenset({"id", "createdAt"})
    indexed: frozenset[str] = frozenset()
    type_of: dict[str, frozenset[str]] = field(default_factory=dict)
    """For a type with variants: what each of them lacks."""


TEXT, TEXT_OR_NULL, FLAG = Text(), Text(nullable=True), Flag()
PERMISSIONS = Members(allowed=EVERY)
NOTHING = Fields({})
MANUAL = Variants({"Manual": NOTHING, "Automatic": Fields({"acmeProviderId": Id(), "dnsServerId": Id()})}, "Manual")
AUTOMATIC_KEYS = Fields(
    {
        "algorithms": Members(),
        "selectorTemplate": TEXT,
        "rotateAfter": Number(),
        "retireAfter": Number(),
        "deleteAfter": Number(),
    },
)
ALIASES = Ordered(
    Fields(
        {"name": Text(clean=local_part), "domainId": Id(), "enabled": FLAG, "description": TEXT_OR_NULL},
        {"enabled": True, "description": None},
    )
)
LISTS = {"enabledPermissions": PERMISSIONS, "disabledPermissions": PERMISSIONS}
EMPTY_LISTS: dict[str, Any] = {"enabledPermissions": {}, "disabledPermissions": {}}
OWN_RIGHTS = Variants(
    {"Inherit": NOTHING, "Merge": Fields(LISTS, EMPTY_LISTS), "Replace": Fields(LISTS, EMPTY_LISTS)}, "Inherit"
)
KEY_RIGHTS = Variants(
    {kind: Fields({"permissions": PERMISSIONS}, {"permissions": {}}) for kind in ("Disable", "Replace")}
    | {"Inherit": NOTHING},
    "Inherit",
)
ROLES = Variants(
    {"User": NOTHING, "Admin": NOTHING, "Default": NOTHING, "Custom": Fields({"roleIds": Members()}, {"roleIds": {}})},
    "User",
)
_SECRET_SOURCES = {
    "EnvironmentVariable": Fields({"variableName": TEXT}),
    "File": Fields({"filePath": TEXT}),
}
SECRET_TEXT = Variants({"Text": Fields({"secret": TEXT}), **_SECRET_SOURCES}, "Text")
SECRET_KEY = Variants({"None": NOTHING, "Value": Fields({"secret": TEXT}), **_SECRET_SOURCES}, "None")
SECONDARY = Fields({"secret": TEXT, "description": TEXT, "permissions": KEY_RIGHTS, "allowedIps": Members()})
CREDENTIALS = Ordered(
    Variants(
        {
            "Password": Fields(
                {
                    "secret": TEXT,
                    "otpAuth": TEXT_OR_NULL,
                    "expiresAt": TEXT_OR_NULL,
                    "allowedIps": Members(),
                },
                {"otpAuth": None, "expiresAt": None, "allowedIps": {}},
            ),
            "AppPassword": SECONDARY,
            "ApiKey": SECONDARY,
        },
        "Password",
    )
)
RATE = Fields({"count": Number(), "period": Number()}, {"count": 0, "period": 0})
EXPRESSION = Fields({"else": TEXT, "match": Ordered(Fields({"if": TEXT, "then": TEXT}))}, {"else": "true", "match": {}})
_SECONDARY_KIND = Kind(
    {"description": TEXT, "permissions": KEY_RIGHTS, "allowedIps": Members(), "expiresAt": TEXT_OR_NULL},
    {"description": "", "permissions": {"@type": "Inherit"}, "allowedIps": {}, "expiresAt": None},
    computed=frozenset({"id", "createdAt", "credentialId", "secret"}),
)
KINDS = {
    "Domain": Kind(
        {
            "name": Text(clean=domain_name),
            "aliases": Members(clean=domain_name),
            "isEnabled": FLAG,
            "description": TEXT_OR_NULL,
            "catchAllAddress": Text(nullable=True, clean=address),
            "allowRelaying": FLAG,
            "certificateManagement": MANUAL,
            "dkimManagement": Variants({"Automatic": AUTOMATIC_KEYS, "Manual": NOTHING}, "Automatic"),
            "dnsManagement": MANUAL,
            "subAddressing": Variants(
                {"Enabled": NOTHING, "Disabled": NOTHING, "Custom": Fields({"customRule": EXPRESSION})}, "Enabled"
            ),
            "reportAddressUri": TEXT_OR_NULL,
        },
        {
            "aliases": {},
            "isEnabled": True,
            "description": None,
            "catchAllAddress": None,
            "allowRelaying": False,
            "certificateManagement": {"@type": "Manual"},
            "dkimManagement": {"@type": "Automatic"},
            "dnsManagement": {"@type": "Manual"},
            "subAddressing": {"@type": "Enabled"},
            "reportAddressUri": "mailto:postmaster",
        },
        required=("name",),
        computed=frozenset({"id", "createdAt", "dnsZoneFile"}),
        indexed=frozenset({"name", "aliases", "text"}),
    ),
    "Role": Kind(
        {"description": TEXT, "roleIds": Members(), **LISTS},
        {"description": "", "roleIds": {}, **EMPTY_LISTS, "memberTenantId": None},
        required=("description",),
        computed=frozenset({"id"}),
        indexed=frozenset({"description"}),
    ),
    "Account": Kind(
        {
            "name": Text(clean=local_part),
            "domainId": Id(),
            "description": TEXT_OR_NULL,
            "aliases": ALIASES,
            "roles": ROLES,
            "permissions": OWN_RIGHTS,
            "encryptionAtRest": Variants({"Disabled": NOTHING}, "Disabled"),
            "quotas": Ordered(Number(), allowed=QUOTAS),
            "credentials": CREDENTIALS,
            "memberGroupIds": Members(),
            "locale": TEXT,
            "timeZone": TEXT_OR_NULL,
        },
        {
            "@type": "User",
            "description": None,
            "aliases": {},
            "roles": {"@type": "User"},
            "permissions": {"@type": "Inherit"},
            "encryptionAtRest": {"@type": "Disabled"},
            "quotas": {},
            "credentials": {},
            "memberGroupIds": {},
            "locale": "en_US",
            "timeZone": None,
        },
        required=("name", "domainId"),
        computed=frozenset({"id", "createdAt", "emailAddress", "usedDiskQuota"}),
        indexed=frozenset({"@type", "domainId", "name", "memberGroupIds", "text"}),
        type_of={"User": frozenset(), "Group": frozenset({"credentials", "memberGroupIds", "encryptionAtRest"})},
    ),
    "MailingList": Kind(
        {
            "name": Text(clean=local_part),
            "domainId": Id(),
            "description": TEXT_OR_NULL,
            "recipients": Members(clean=address),
            "aliases": ALIASES,
        },
        {"recipients": {}, "aliases": {}, "description": None},
        required=("name", "domainId"),
        computed=frozenset({"id", "emailAddress"}),
        indexed=frozenset({"text"}),
    ),
    "DkimSignature": Kind(
        {
            "domainId": Id(),
            "selector": TEXT,
            "privateKey": SECRET_TEXT,
            "stage": Text(allowed=("pending", "active", "retiring", "retired")),
            "canonicalization": TEXT,
            "headers": Members(),
            "nextTransitionAt": TEXT_OR_NULL,
            "report": FLAG,
        },
        {
            "@type": "Dkim1Ed25519Sha256",
            "stage": "active",
            "canonicalization": "relaxed/relaxed",
            "headers": dict.fromkeys(("Date", "From", "Message-ID", "Subject", "To"), True),
            "nextTransitionAt": None,
            "report": True,
        },
        required=("domainId", "selector", "privateKey"),
        computed=frozenset({"id", "createdAt", "publicKey"}),
        indexed=frozenset({"domainId"}),
        type_of={
            f"Dkim{version}{algorithm}Sha256": frozenset() for version in (1, 2) for algorithm in ("Rsa", "Ed25519")
        },
    ),
    "ApiKey": _SECONDARY_KIND,
    "AppPassword": _SECONDARY_KIND,
    "AllowedIp": Kind(
        {"address": TEXT, "reason": TEXT_OR_NULL, "expiresAt": TEXT_OR_NULL},
        {"reason": None, "expiresAt": None},
        required=("address",),
        fixed=frozenset({"address"}),
    ),
    "BlockedIp": Kind(
        {"address": TEXT, "reason": TEXT, "expiresAt": TEXT_OR_NULL},
        {"reason": "manual", "expiresAt": None},
        required=("address",),
        fixed=frozenset({"address"}),
    ),
    "Directory": Kind(
        {
            "issuerUrl": TEXT,
            "description": TEXT,
            "requireAudience": TEXT_OR_NULL,
            "requireScopes": Members(),
            "claimUsername": TEXT,
            "claimName": TEXT_OR_NULL,
            "claimGroups": TEXT_OR_NULL,
            "usernameDomain": TEXT_OR_NULL,
        },
        {
            "@type": "Oidc",
            "description": "",
            "requireAudience": "stalwart",
            "requireScopes": {"openid": True, "email": True},
            "claimUsername": "preferred_username",
            "claimName": "name",
            "claimGroups": None,
            "usernameDomain": None,
        },
        required=("issuerUrl",),
        computed=frozenset({"id"}),
        type_of={"Oidc": frozenset()},
    ),
    "WebHook": Kind(
        {
            "url": TEXT,
            "enable": FLAG,
            "events": Members(allowed=EVENTS),
            "eventsPolicy": Text(allowed=("include", "exclude")),
            "signatureKey": SECRET_KEY,
            "httpAuth": Variants(
                {
                    "Unauthenticated": NOTHING,
                    "Basic": Fields({"username": TEXT, "secret": SECRET_TEXT}),
                    "Bearer": Fields({"bearerToken": SECRET_TEXT}),
                },
                "Unauthenticated",
            ),
            "httpHeaders": Ordered(TEXT, free=True),
            "timeout": Number(),
            "throttle": Number(),
            "discardAfter": Number(),
            "lossy": FLAG,
            "allowInvalidCerts": FLAG,
            "level": TEXT,
        },
        {
            "enable": True,
            "events": {},
            "eventsPolicy": "exclude",
            "signatureKey": {"@type": "None"},
            "httpAuth": {"@type": "Unauthenticated"},
            "httpHeaders": {},
            "timeout": 30_000,
            "throttle": 1_000,
            "discardAfter": 300_000,
            "lossy": False,
            "allowInvalidCerts": False,
            "level": "info",
        },
        required=("url",),
        computed=frozenset({"id"}),
    ),
    "MtaInboundThrottle": Kind(
        {
            "description": TEXT,
            "enable": FLAG,
            "key": Members(allowed=THROTTLE_KEYS),
            "match": EXPRESSION,
            "rate": RATE,
        },
        {
            "description": "",
            "enable": True,
            "key": {},
            "match": {"else": "true", "match": {}},
            "rate": {"count": 0, "period": 0},
        },
        required=("description",),
        fixed=frozenset({"description"}),
        computed=frozenset({"id"}),
    ),
}

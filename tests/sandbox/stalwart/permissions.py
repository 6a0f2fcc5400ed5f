"""The 660 permissions, and which of them an account holds (facts/stalwart.md 2.6, 11.4, 11.10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Record = dict[str, Any]

_ACTS = {
    "c": "Create",
    "d": "Destroy",
    "g": "Get",
    "h": "Changes",
    "o": "Copy",
    "p": "Parse",
    "q": "Query",
    "u": "Update",
    "x": "QueryChanges",
}
_MAIL = {
    "PushSubscription": "gcud",
    "Mailbox": "ghqxcud",
    "Thread": "gh",
    "Email": "ghqxcudop",
    "Identity": "ghcud",
    "EmailSubmission": "ghqxcud",
    "VacationResponse": "gcud",
    "SieveScript": "gqcud",
    "Principal": "gqhxcud",
    "Quota": "ghqx",
    "Blob": "go",
    "AddressBook": "ghcud",
    "ContactCard": "ghqxcudop",
    "FileNode": "ghqxcudo",
    "ShareNotification": "ghqxcud",
    "Calendar": "ghcud",
    "CalendarEvent": "ghqxcudop",
    "CalendarEventNotification": "ghqxcud",
    "ParticipantIdentity": "ghcud",
}
_FAMILIES = {
    "jmap": "EmailImport SearchSnippetGet SieveScriptValidate PrincipalGetAvailability BlobLookup BlobUpload CoreEcho",
    "imap": "Authenticate AclGet AclSet MyRights ListRights Append Capability Id Copy Move Create Delete Enable Expunge"
    " Fetch Idle List Lsub Namespace Rename Search Sort Select Examine Status Store Subscribe Thread",
    "pop3": "Authenticate List Uidl Stat Retr Dele",
    "calendar": "AlarmsSend SchedulingSend SchedulingReceive",
    "email": "Send Receive",
    "dav": "SyncCollection ExpandProperty PrincipalAcl PrincipalList PrincipalMatch PrincipalSearch"
    " PrincipalSearchPropSet FilePropFind FilePropPatch FileGet FileMkCol FileDelete FilePut FileCopy FileMove FileLock"
    " FileAcl CardPropFind CardPropPatch CardGet CardMkCol CardDelete CardPut CardCopy CardMove CardLock CardAcl"
    " CardQuery CardMultiGet CalPropFind CalPropPatch CalGet CalMkCol CalDelete CalPut CalCopy CalMove CalLock CalAcl"
    " CalQuery CalMultiGet CalFreeBusyQuery",
    "sieve": "Authenticate ListScripts SetActive GetScript PutScript DeleteScript RenameScript CheckScript HaveSpace",
    "action": "ReloadSettings ReloadTlsCertificates ReloadLookupStores ReloadBlockedIps UpdateApps TroubleshootDmarc"
    " ClassifySpam InvalidateCaches InvalidateNegativeCaches PauseMtaQueue ResumeMtaQueue",
    "task": "IndexDocument UnindexDocument IndexTrace CalendarAlarmEmail CalendarAlarmNotification CalendarItipMessage"
    " MergeThreads DmarcReport TlsReport RestoreArchivedItem DestroyAccount AccountMaintenance TenantMaintenance"
    " StoreMaintenance SpamFilterMaintenance AcmeRenewal DkimManagement DnsManagement",
    "live": "Tracing Metrics DeliveryTest",
    "": "authenticate authenticateWithAlias interactAi impersonate unlimitedRequests unlimitedUploads fetchAnyBlob"
    " oAuthClientRegistration oAuthClientOverride",
}
_OBJECTS = """Account AcmeProvider Action AiModel Alert AllowedIp ApiKey AppPassword Application ArchivedItem
ArfExternalReport BlockedIp Certificate ClusterNode ClusterRole Directory DkimSignature DmarcExternalReport
DmarcInternalReport DnsServer Domain EventTracingLevel HttpLookup Log MailingList MaskedEmail MemoryLookupKey
MemoryLookupKeyValue Metric MtaConnectionStrategy MtaDeliverySchedule MtaHook MtaInboundThrottle MtaMilter
MtaOutboundThrottle MtaQueueQuota MtaRoute MtaTlsStrategy MtaVirtualQueue NetworkListener OAuthClient PublicKey
QueuedMessage Role SieveSystemScript SieveUserScript SpamDnsblServer SpamFileExtension SpamRule SpamTag
SpamTrainingSample StoreLookup Task Tenant TlsExternalReport TlsInternalReport Trace Tracer WebHook"""
_SETTINGS = """AccountPassword AccountSettings AddressBook Asn Authentication BlobStore Bootstrap Cache Calendar
CalendarAlarm CalendarScheduling Coordinator DataRetention DataStore DkimReportSettings DmarcReportSettings DnsResolver
DsnReportSettings Email Enterprise FileStorage Http HttpForm Imap InMemoryStore Jmap Metrics MetricsStore MtaExtensions
MtaInboundSession MtaOutboundStrategy MtaStageAuth MtaStageConnect MtaStageData MtaStageEhlo MtaStageMail MtaStageRcpt
MtaSts OidcProvider ReportSettings Search SearchStore Security SenderAuth Sharing SieveSystemInterpreter
SieveUserInterpreter SpamClassifier SpamDnsblSettings SpamLlm SpamPyzor SpamSettings SpfReportSettings SystemSettings
TaskManager TlsReportSettings TracingStore WebDav"""

MAIL = frozenset(
    [f"jmap{kind}{_ACTS[act]}" for kind, acts in _MAIL.items() for act in acts]
    + [
        f"{family}{name}"
        for family in ("jmap", "imap", "pop3", "calendar", "email", "dav", "sieve")
        for name in _FAMILIES[family].split()
    ]
)
EVERY = (
    MAIL
    | {f"{family}{name}" for family in ("action", "task", "live", "") for name in _FAMILIES[family].split()}
    | {f"sys{kind}{act}" for kind in _OBJECTS.split() for act in ("Get", "Create", "Update", "Destroy", "Query")}
    | {f"sys{kind}{act}" for kind in _SETTINGS.split() for act in ("Get", "Update")}
)
_OWN = ("sysMaskedEmail", "sysArchivedItem", "sysAccountSettings", "sysPublicKey", "sysSpamTrainingSample")
_OWN_SECRETS = ("sysAccountPassword", "sysApiKey", "sysAppPassword")
_TENANT_OBJECTS = ("sysDomain", "sysDkimSignature", "sysAcmeProvider", "sysAccount", "sysRole", "sysOAuthClient")
_TENANT_MAIL = ("sysMailingList", "sysExternalReport", "sysDnsServer", "sysQueuedMessage")
_SIGN_IN = frozenset({"authenticate", "authenticateWithAlias", "interactAi"})

_own = frozenset(name for name in EVERY if name.startswith(_OWN) and name != "sysSpamTrainingSampleCreate")
_own_secrets = frozenset(name for name in EVERY if name.startswith(_OWN_SECRETS))
USER = MAIL | _SIGN_IN | _own | _own_secrets
GROUP = MAIL | _own
ADMIN = EVERY - MAIL
TENANT = (
    frozenset(name for name in EVERY - _own - _own_secrets if name.startswith(_TENANT_OBJECTS + _TENANT_MAIL))
    | _SIGN_IN
    | {"fetchAnyBlob", "liveDeliveryTest"}
)
DEFAULT_ROLES = {"User": USER, "Group": GROUP, "Tenant Administrator": TENANT, "System Administrator": ADMIN}
"""The four roles of a first start, in the order of their ids."""


class Rights:
    """Works out what accounts hold, from the roles and settings as they are."""

    def __init__(self, roles: Mapping[str, Record], defaults: Record) -> None:
        self._roles, self._defaults = roles, defaults

    def held(self, account: Record) -> frozenset[str]:
        """What the account may do: everything enabled anywhere, less everything disabled at any level.

        Raises KeyError when one of its roles is gone.
        """
        own, names = account["permissions"], self._role_ids(account)
        enabled = set(own.get("enabledPermissions", ()))
        disabled = set(own.get("disabledPermissions", ()))
        for role in self._with_parents([] if own["@type"] == "Replace" else names):
            enabled |= set(role["enabledPermissions"])
            disabled |= set(role["disabledPermissions"])
        return frozenset(enabled - disabled)

    def disabled(self, account: Record) -> set[str]:
        """Every permission that the account or a role of it takes away."""
        found = set(account["permissions"].get("disabledPermissions", ()))
        for role in self._with_parents([name for name in self._role_ids(account) if name in self._roles]):
            found |= set(role["disabledPermissions"])
        return found

    def _role_ids(self, account: Record) -> list[str]:
        kind = account["roles"]["@type"]
        if kind == "Custom":
            return list(account["roles"].get("roleIds", ()))
        which = {"Admin": "Admin", "Default": "Group"}.get(kind, "User")
        return list(self._defaults[f"default{which}RoleIds"])

    def _with_parents(self, names: Iterable[str]) -> list[Record]:
        found: dict[str, Record] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self._roles[name]
                waiting += found[name]["roleIds"]
        return list(found.values())


def scoped(held: frozenset[str], scope: Record) -> frozenset[str]:
    """What is left of an account's permissions for one of its keys."""
    named = frozenset(scope.get("permissions", ()))
    if scope["@type"] == "Disable":
        return held - named
    return held & named if scope["@type"] == "Replace" else held

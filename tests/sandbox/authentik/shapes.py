"""What answers look like: the fields that Authentik's own client requires of every object."""

from __future__ import annotations

from typing import Any

from tests.sandbox.authentik.grants import Grant
from tests.sandbox.authentik.kinds import KINDS, Record
from tests.sandbox.authentik.rights import PERMISSIONS
from tests.sandbox.authentik.store import Store, timestamp

Query = Any
MODELS = {
    "oauth2provider": ("ak-provider-oauth2-form", "OAuth2/OpenID Provider"),
    "scopemapping": ("ak-property-mapping-provider-scope-form", "Scope Mapping"),
    "expressionpolicy": ("ak-policy-expression-form", "Expression Policy"),
    "stage": ("ak-stage-form", "Stage"),
}


class Shapes:
    """The answer's form of every object."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def shown(self, kind: str, record: Record, query: Query) -> Record:
        """``query`` holds the ``include_…`` switches."""
        out = {key: value for key, value in record.items() if not key.startswith("_")}
        if kind in MODELS:
            component, verbose = MODELS[kind]
            out |= {"component": component, "verbose_name": verbose, "verbose_name_plural": f"{verbose}s"}
            out["meta_model_name"] = f"{KINDS[kind].app}.{kind}"
        more = getattr(self, f"_{kind}", None)
        return out | more(record, query) if more is not None else out

    # -- people ------------------------------------------------------------------------

    def _group(self, group: Record, query: Query) -> Record:
        members = sorted(self.store.members[group["pk"]])
        children = [child["pk"] for child in self.store.having("group", "parents", group["pk"])]
        people = (self.store.objects["user"][str(pk)] for pk in members)
        return {
            "num_pk": group["_number"],
            "users": members,
            "users_obj": [self._partial_user(user) for user in people] if _asked(query, "users") else None,
            "parents_obj": self._related(group["parents"]) if _asked(query, "parents", "false") else None,
            "roles_obj": self._roles(group["roles"]),
            "inherited_roles_obj": None,
            "children": children,
            "children_obj": self._related(children) if _asked(query, "children", "false") else None,
        }

    def _user(self, user: Record, query: Query) -> Record:
        groups = self.store.groups_of(user)
        partial = [self._partial_group(self.store.objects["group"][pk]) for pk in groups]
        return {
            "groups": groups,
            "groups_obj": partial if _asked(query, "groups") else None,
            "roles_obj": self._roles(user["roles"]) if _asked(query, "roles") else None,
            "is_superuser": self.store.is_superuser(user),
            "avatar": "data:image/svg+xml;base64,",
            "uid": self.store.uid(user),
        }

    def _partial_user(self, user: Record) -> Record:
        fields = ("pk", "username", "name", "is_active", "last_login", "email", "attributes")
        return {**{field: user[field] for field in fields}, "uid": self.store.uid(user)}

    def _partial_group(self, group: Record) -> Record:
        fields = ("pk", "name", "is_superuser", "attributes")
        return {**{field: group[field] for field in fields}, "num_pk": group["_number"]}

    def _related(self, pks: list[str]) -> list[Record]:
        return [{**self._partial_group(self.store.objects["group"][pk]), "group_uuid": pk} for pk in pks]

    def _roles(self, pks: list[str]) -> list[Record]:
        return [self.shown("role", role, {}) for pk in pks if (role := self.store.get("role", pk))]

    def _token(self, token: Record, _: Query) -> Record:
        user = self.store.get("user", token["user"])
        return {"user_obj": self.shown("user", user, {}) if user else None}

    def session(self, session: Record) -> Record:
        """A login session."""
        agent = dict.fromkeys(("major", "minor", "patch", "patch_minor"), "") | {"family": "Other"}
        device = {"brand": "", "family": "Other", "model": ""}
        return {
            "uuid": session["uuid"],
            "current": False,
            "user_agent": {"device": device, "os": agent, "user_agent": agent, "string": ""},
            "geo_ip": None,
            "asn": None,
            "user": session["user"],
            "last_ip": "127.0.0.1",
            "last_user_agent": "",
            "last_used": session["created"],
            "expires": timestamp(self.store.clock() + 86400),
        }

    # -- applications ----------------------------------------------------------------------

    def _oauth2provider(self, provider: Record, _: Query) -> Record:
        application = self.store.application_of(provider)
        return {
            "assigned_application_slug": application["slug"] if application else None,
            "assigned_application_name": application["name"] if application else None,
            "assigned_backchannel_application_slug": None,
            "assigned_backchannel_application_name": None,
        }

    def _application(self, application: Record, _: Query) -> Record:
        provider = self.store.get("oauth2provider", application["provider"])
        return {
            "pbm_uuid": application["pk"],
            "provider_obj": self.shown("oauth2provider", provider, {}) if provider else None,
            "backchannel_providers_obj": [],
            "launch_url": application["meta_launch_url"] or None,
            "meta_icon_url": application["meta_icon"] or None,
            "meta_icon_themed_urls": None,
        }

    def _policybinding(self, binding: Record, _: Query) -> Record:
        policy = self.store.get("expressionpolicy", binding["policy"])
        group, user = self.store.get("group", binding["group"]), self.store.get("user", binding["user"])
        return {
            "policy_obj": self.shown("expressionpolicy", policy, {}) if policy else None,
            "group_obj": self._partial_group(group) if group else None,
            "user_obj": self._partial_user(user) if user else None,
            "expires": None,
            "expiring": False,
        }

    def _expressionpolicy(self, policy: Record, _: Query) -> Record:
        return {"bound_to": len(self.store.having("policybinding", "policy", policy["pk"]))}

    # -- the platform's ----------------------------------------------------------------------

    def _brand(self, brand: Record, _: Query) -> Record:
        return {"brand_uuid": brand["brand_uuid"], "branding_map_tiles": ""}

    def _flow(self, flow: Record, _: Query) -> Record:
        bound = self.store.objects["flowstagebinding"].values()
        return {
            "policybindingmodel_ptr_id": flow["pk"],
            "background": "",
            "background_url": "/static/dist/assets/images/flow_background.jpg",
            "background_themed_urls": None,
            "stages": [binding["stage"] for binding in bound if binding["target"] == flow["pk"]],
            "policies": [],
            "cache_count": 0,
            "export_url": f"/api/v3/flows/instances/{flow['slug']}/export/",
        }

    def _stage(self, _: Record, __: Query) -> Record:
        return {"flow_set": []}

    def _flowstagebinding(self, binding: Record, _: Query) -> Record:
        stage = self.store.objects["stage"][binding["stage"]]
        return {"policybindingmodel_ptr_id": binding["pk"], "stage_obj": self.shown("stage", stage, {})}

    def _certificatekeypair(self, pair: Record, _: Query) -> Record:
        path = f"/api/v3/crypto/certificatekeypairs/{pair['pk']}"
        return {
            "fingerprint_sha256": None,
            "fingerprint_sha1": None,
            "cert_expiry": timestamp(self.store.clock() + 365 * 86400),
            "cert_subject": f"CN={pair['name']}",
            "private_key_available": True,
            "certificate_download_url": f"{path}/view_certificate/?download",
            "private_key_download_url": f"{path}/view_private_key/?download",
        }

    def _initialpermissions(self, initial: Record, _: Query) -> Record:
        return {"permissions_obj": [permission(number) for number in initial["permissions"]]}

    def grant(self, grant: Grant) -> Record:
        """A code or token, as its owner sees it."""
        provider, user = self.store.get("oauth2provider", grant.provider), self.store.get("user", grant.user)
        return {
            "pk": grant.number,
            "provider": self.shown("oauth2provider", provider, {}) if provider else None,
            "user": self.shown("user", user, {}) if user else None,
            "is_expired": grant.expires <= self.store.clock(),
            "expires": timestamp(grant.expires),
            "scope": grant.scope.split(),
            "id_token": "{}",
            "revoked": False,
        }


def permission(number: int) -> Record:
    """A permission by its number."""
    app, _, codename = PERMISSIONS[number - 1].partition(".")
    last = codename.rpartition("_")[2]
    model = next((kind.name for kind in KINDS.values() if codename.endswith(f"_{kind.name}")), last)
    return {
        "id": number,
        "name": f"Can {codename.replace('_', ' ')}",
        "codename": codename,
        "model": model,
        "app_label": app,
        "app_label_verbose": app,
        "model_verbose": model,
    }


def _asked(query: Query, what: str, default: str = "true") -> bool:
    return str(query.get(f"include_{what}", default)).lower() == "true"

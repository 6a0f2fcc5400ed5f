"""What is there at the end, without what differs from run to run: ids become names, times and keys a word.

A picture is a sorted list of lines, one for each value of each object, so what is there twice is in it twice.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.apiserver import ApiServer
from tests.faults.receipts import without_proof
from tests.sandbox.ocis.store import EDITOR, MANAGER, VIEWER
from tests.sandbox.workspace import Workspace

Picture = tuple[str, ...]
Key = tuple[str, str, str]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
PUBLIC_KEY = re.compile(r"\bp=[A-Za-z0-9+/=]{40,}|\bid=\d{10,}")
RANDOM = {"client_secret", "uuid", "privateKey", "publicKey", "uid"}
COUNTED = {"num_pk", "_number", "resourceVersion", "generation", "observedGeneration"}
TIMED = {"managedFields", "creationTimestamp", "deletionTimestamp", "createdAt", "deletedAt"}
PASSING = RANDOM | COUNTED | TIMED
"""Fields whose value is another one in every run."""
REFERENCES = {
    "pk": ("oauth2provider", "user"),
    "provider": ("oauth2provider",),
    "providerId": ("oauth2provider",),
    "user": ("user",),
    "users": ("user",),
    "domainId": ("Domain",),
    "roleId": ("Role",),
    "roleIds": ("Role",),
    "memberGroupIds": ("Account",),
    "accountId": ("Account",),
    "id": ("Domain",),
}
"""Fields that hold ids which mean nothing without the kind of their object: numbers, or letters in order."""


@dataclass(frozen=True)
class Names:
    """What stands for an id."""

    unique: dict[str, str] = field(default_factory=dict)
    numbered: dict[tuple[str, str], str] = field(default_factory=dict)

    def learn(self, kind: str, key: object, name: str) -> None:
        """An id of an object with a name."""
        text = str(key)
        if UUID.fullmatch(text):
            self.unique[text] = f"<{kind} {name}>"
        else:
            self.numbered[kind, text] = f"<{kind} {name}>"

    def of(self, field: str, value: object) -> str | None:
        """The name of the object that ``field`` refers to."""
        kinds = REFERENCES.get(field, ())
        return next((name for kind in kinds if (name := self.numbered.get((kind, str(value))))), None)

    def within(self, text: str) -> str:
        """A text with every id, time and key replaced."""
        text = UUID.sub(lambda found: self.unique.get(found.group(), "<uuid>"), text)
        return PUBLIC_KEY.sub("<key>", TIME.sub("<time>", text))


async def picture(workspace: Workspace, api: ApiServer, *, apart: Container[str]) -> Picture:
    """All three systems and the API server; ``apart`` are the objects that were there before."""
    records, names = stored(workspace), Names({MANAGER: "manager", EDITOR: "editor", VIEWER: "viewer"})
    for (_, kind, key), record in records.items():
        for each in {key, str(record.get("pk") or key)}:
            names.learn(kind, each, _title(record, names))
    lines = await _kubernetes(api, names)
    for (place, kind, key), record in records.items():
        if f"{place}/{kind}/{key}" not in apart:
            own = {name: value for name, value in record.items() if name not in {"id", "pk", "brand_uuid"}}
            lines += _lines(f"{place} {kind} {_title(record, names)}", own, names)
    return tuple(sorted(lines))


def difference(expected: Picture, found: Picture) -> str:
    """What is missing and what is too much, for a person."""
    missing, more = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    return "\n".join([*(f"  - {line}" for line in missing.elements()), *(f"  + {line}" for line in more.elements())])


def stored(workspace: Workspace) -> dict[Key, Mapping[str, Any]]:
    """Every object of all three systems by system, kind and id."""
    mail, files = workspace.stalwart.objects, workspace.ocis.store
    found: dict[Key, Mapping[str, Any]] = {}
    for kind, objects in workspace.authentik.store.objects.items():
        found |= {("authentik", kind, key): record for key, record in objects.items()}
    for kind, objects in mail.by_type.items():
        found |= {("stalwart", kind, key): record for key, record in objects.items()}
    found |= {("stalwart", "singleton", name): record for name, record in mail.singletons.items()}
    found |= {("ocis", "space", key): asdict(space) for key, space in files.spaces.items()}
    for key, user in files.users.items():
        found["ocis", "account", key] = {**asdict(user), "synced": None}  # when it last looked at a claim, by the clock
    found |= {("ocis", "members", key): {"name": name} for key, name in files.groups.items()}
    return found


async def _kubernetes(api: ApiServer, names: Names) -> list[str]:
    lines: list[str] = []
    for item in [*await api.tenants(), *await api.records()]:
        data = {key: without_proof(json.loads(value)) for key, value in (item.get("data") or {}).items()}
        lines += _lines(f"kubernetes {item['metadata']['name']}", {**without_proof(item), "data": data}, names)
    for secret in await api.secrets():
        # The values are made anew in every run; which there are, and whose, is what counts.
        kept = {"keys": sorted(secret.get("data") or {}), "metadata": secret["metadata"]}
        lines += _lines(f"kubernetes {secret['metadata']['name']}", kept, names)
    return lines


def _lines(title: str, record: Mapping[str, Any], names: Names) -> list[str]:
    return [f"{title}: {path} = {value}" for path, value in _leaves(_normal(dict(record), names, ""), "")]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{number}]")
    else:
        yield path, repr(value)


def _normal(value: Any, names: Names, field: str) -> Any:
    if isinstance(value, dict):
        return {
            names.of(field, key) or names.within(str(key)): _normal(inner, names, str(key))
            for key, inner in value.items()
            if key not in PASSING
        }
    if isinstance(value, list | tuple | set):
        found = [_normal(inner, names, field) for inner in value]
        return sorted(found, key=repr)  # the order in which side by side work was done is nobody's promise
    if named := names.of(field, value):
        return named
    return names.within(value) if isinstance(value, str) else value


def _title(record: Mapping[str, Any], names: Names) -> str:
    if "target" in record:  # a binding has no name: it is what it binds to what
        return names.within(" ".join(str(record[name]) for name in ("target", "policy", "group") if record.get(name)))
    fields = ("name", "username", "slug", "domain", "identifier", "description", "alias", "selector")
    return UUID.sub("<uuid>", str(next((record[name] for name in fields if record.get(name)), "")))

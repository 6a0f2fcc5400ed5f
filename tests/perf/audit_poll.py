"""How many of Authentik's events a second become events of the log, on one core.

    python -m tests.perf.audit_poll [EVENTS]

CPU time, the best of some rounds: pages as the server sends them are cut into their texts, parsed, attributed and made
into events, without the requests and without the log. Beside it a loop that only decodes the same pages.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import msgspec

from dezky_operator.audit.times import from_unix_ns
from dezky_operator.ingest.authentik.listing import PAGE, read_page
from dezky_operator.ingest.authentik.records import event_of
from dezky_operator.ingest.authentik.whose import Place, whose
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from tests.perf.figure import Figure

EVENTS, ROUNDS, TENANTS, PEOPLE = 20_000, 5, 200, 2_000
START = 1_795_492_801_000_000_000
NOW = from_unix_ns(START)
KNOWN = Tenants(
    KnownTenant(tenant_id=f"5e298916-14cb-5616-8a85-{n:012x}", slug=f"t{n}", domains=(f"t{n}.test",))
    for n in range(TENANTS)
)
PLACES = {n + 1: Place(f"dezky/tenants/t{n % TENANTS}", (f"dezky-t{n % TENANTS}-users",)) for n in range(PEOPLE)}


def main(count: int) -> None:
    """Print the figure."""
    pages = [page_of(number) for number in range(count // PAGE)]
    events = len(pages) * PAGE
    bare = max(events / seconds(lambda: [msgspec.json.decode(page) for page in pages]) for _ in range(ROUNDS))
    made = max(events / seconds(lambda: sum(1 for page in pages for _ in events_of(page))) for _ in range(ROUNDS))
    Figure(
        name=f"audit: events of Authentik made, texts of {sum(map(len, pages)) // events} B",
        value=made,
        unit="1/s",
        budget=40_000,
        beside="bare decoding of the same pages",
        peer=bare,
        better="higher",
    ).show()


def events_of(content: bytes) -> Iterator[object]:
    """What a look makes of one page."""
    for entry in read_page(content).entries:
        tenant = whose(entry.row, PLACES.get, KNOWN) if entry.row else None
        yield event_of(entry, src="authentik-main", recv=NOW, tenant=tenant, own="dezky-operator")


def seconds(action: Callable[[], object]) -> float:
    """CPU time of one round."""
    before = time.process_time()
    action()
    return time.process_time() - before


def page_of(number: int) -> bytes:
    """A page of sign-ins, changed objects and authorisations, as Authentik writes them."""
    rows = [row_of(number * PAGE + n) for n in range(PAGE)]
    pagination = {"next": number + 2, "previous": number, "count": 1_000_000, "current": number + 1}
    return msgspec.json.encode({"pagination": pagination, "results": rows, "autocomplete": {}})


def row_of(n: int) -> dict[str, object]:
    """The n-th event."""
    person, host = n % PEOPLE + 1, n % TENANTS
    path = "/api/v3/flows/executor/default-authentication-flow/"
    request = {
        "path": path,
        "method": "POST",
        "args": {"query": "next=%2Fapplication%2Fo%2Fauthorize%2F%3Fclient_id%3Ddezky-ocis"},
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        "request_id": f"{n:032x}",
    }
    kinds: tuple[tuple[str, dict[str, object]], ...] = (
        ("login", {"auth_method": "password", "auth_method_args": {"known_device": True}}),
        ("model_updated", {"model": _model("group", f"dezky-t{host}-users", f"{n:032x}")}),
        ("authorize_application", {"authorized_application": _model("application", "Files", f"{n:032x}")}),
    )
    action, context = kinds[n % 3]
    return {
        "pk": f"{n:08x}-2b38-421f-bc78-{n:012x}",
        "user": {"pk": person, "email": f"p{person}@t{host}.test", "username": f"p{person}@t{host}.test"},
        "action": action,
        "app": "authentik.events.signals",
        "context": {"geo": {"city": "", "country": "DE", "continent": "EU"}, "http_request": request, **context},
        "client_ip": f"10.0.{n % 256}.{n % 199}",
        "created": from_unix_ns(START + n * 1_000_000),
        "expires": from_unix_ns(START + n * 1_000_000),
        "brand": _model("brand", "Default brand", "fcba828076b94dedb2d5a6b4c5556fa1"),
    }


def _model(kind: str, name: str, pk: str) -> dict[str, str]:
    return {"pk": pk, "app": "authentik_core", "name": name, "model_name": kind}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)

"""Events on the screen and as lines for other programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dezky_operator.audit.export.cloudevents import cloud_event
from dezky_operator.audit.export.ocsf import ocsf
from dezky_operator.audit.export.tabular import header, record
from dezky_operator.audit.line import parse
from dezky_operator.audit.query import Found
from dezky_operator.audit.view import View

COLORS = {"success": "green", "failure": "red", "denied": "yellow", "unknown": "cyan"}
WIDTHS = {"time": 19, "seq": 6, "action": 24, "outcome": 7, "who": 20, "what": 20}
"""About a hundred columns in all."""
GONE = {"actor": ("actorEmail", "actorId"), "resource": ("resourceName", "resourceId")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Shown(NamedTuple):
    """One event, as people read it and as it is stored."""

    view: View
    found: Found


Writer = Callable[[Iterable[Shown]], None]


def plain(text: str) -> str:
    """Text that a stranger may have written, without what would move the cursor or turn the line around."""
    return _CONTROL.sub("\N{MIDDLE DOT}", text)


def writer_of(name: str, note: bytes) -> Writer:
    """What writes events in the form of this name; ``note`` is the newest checkpoint, empty if there is none."""
    if name == "table":
        return table
    if name == "csv":
        click.echo(header(), nl=False)
    return lambda events: click.echo("".join(_LINES[name](event, note) for event in events), nl=False)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode() + "\n"


def _ocsf(shown: Shown, note: bytes) -> str:
    row = shown.found.row
    size = int(note.split(b"\n")[1]) if note else 0
    return _json(ocsf(shown.view, line=row.body, origin=parse(row.body).origin, note=note if row.seq < size else b""))


_LINES: dict[str, Callable[[Shown, bytes], str]] = {
    "json": lambda shown, _: _json(shown.view),
    "csv": lambda shown, _: record(shown.view),
    "ocsf": _ocsf,
    "cloudevents": lambda shown, _: _json(cloud_event(shown.view, parse(shown.found.row.body).origin)),
}
FORMATS = ("table", *_LINES)


def table(events: Iterable[Shown]) -> None:
    """A screen's worth: the time to the second, who, what, and how it ended."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for name, width in WIDTHS.items():
        shown.add_column(name, max_width=width, no_wrap=True, justify="right" if name == "seq" else "left")
    for event in events:
        shown.add_row(*_cells(event.view))
    Console().print(shown)


def _cells(view: View) -> tuple[Text, ...]:
    who = _name(view, (view.actor_email, view.actor_id), "actor") or Text(plain(view.actor_type))
    what = _name(view, (view.resource_name, view.resource_id), "resource") or Text(plain(view.resource_type))
    action = Text(plain(view.action), style="bold red" if view.problem else "")
    outcome = Text(plain(view.outcome), style=COLORS.get(view.outcome, ""))
    return Text(view.at[:19].replace("T", " ")), Text(str(view.seq)), action, outcome, who, what


def _name(view: View, values: Iterable[str | None], party: str) -> Text | None:
    """The first of the values that is there, else what became of it."""
    value = next((value for value in values if value), None)
    if value is not None:
        return Text(plain(value))
    for state, names, style in (("missing", view.missing, "bold red"), ("erased", view.erased, "dim italic")):
        if set(GONE[party]) & set(names):
            return Text(state, style=style)
    return None


def details(view: View, line: bytes) -> None:
    """Everything about one event."""
    console = Console()
    if view.problem:
        console.print(Text(f"NOT TO BE TRUSTED: {plain(view.problem)}", style="bold red"))
    shown = Table(box=None, show_header=False, pad_edge=False)
    for name, value in msgspec.to_builtins(view).items():
        if name in view.erased or name in view.missing:
            shown.add_row(Text(name), Text("erased" if name in view.erased else "missing", style="bold"))
        elif name == "metadata" and view.sealed:
            shown.add_row(Text(name), Text("sealed (give --keys)", style="dim"))
        elif value not in ("", (), {}, False, None):
            shown.add_row(
                Text(name), Text(plain(value if isinstance(value, str) else msgspec.json.encode(value).decode()))
            )
    console.print(shown)
    console.print(Text("line"), Text(plain(line.decode(errors="backslashreplace"))), sep="\n", soft_wrap=True)

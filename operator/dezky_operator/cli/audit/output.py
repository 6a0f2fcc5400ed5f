"""Events on the screen and as lines for other programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dezky_operator.audit.export.cloudevents import cloud_event
from dezky_operator.audit.export.ecs import ecs
from dezky_operator.audit.export.ocsf import ocsf
from dezky_operator.audit.export.tabular import header, record
from dezky_operator.audit.line import parse
from dezky_operator.audit.query import Found
from dezky_operator.audit.view import View

COLORS = {"success": "green", "failure": "red", "denied": "yellow", "unknown": "cyan"}
WHOLE = {"time": 19, "seq": 7, "outcome": 7}
"""Columns that are never cut, and their least width."""
SHARED = {"action": 5, "who": 5, "what": 4}
"""Columns that share the rest of the screen, in these parts, and are cut at its end."""
COLUMNS = ("time", "seq", "outcome", "action", "who", "what")
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
        return Screen().show
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
    "ecs": lambda shown, _: _json(
        ecs(shown.view, line=shown.found.row.body, origin=parse(shown.found.row.body).origin)
    ),
    "cloudevents": lambda shown, _: _json(cloud_event(shown.view, parse(shown.found.row.body).origin)),
}
FORMATS = ("table", *_LINES)


class Screen:
    """A table that goes on with every page: the time to the second, how it ended, what was done by whom to what."""

    def __init__(self) -> None:
        self._begun = False

    def show(self, events: Iterable[Shown]) -> None:
        """Print some more; the names of the columns come once."""
        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=True)
        shown.show_header = not self._begun
        self._begun = True
        for name in COLUMNS:
            side: Literal["left", "right"] = "right" if name == "seq" else "left"
            shown.add_column(name, min_width=WHOLE.get(name), ratio=SHARED.get(name), no_wrap=True, justify=side)
        for event in events:
            shown.add_row(*_cells(event.view))
        Console().print(shown)


def _cells(view: View) -> tuple[Text, ...]:
    who = _name(view, (view.actor_email, view.actor_id), "actor") or Text(plain(view.actor_type))
    what = _name(view, (view.resource_name, view.resource_id), "resource") or Text(plain(view.resource_type))
    action = Text(plain(view.action), style="bold red" if view.problem else "")
    outcome = Text(plain(view.outcome), style=COLORS.get(view.outcome, ""))
    return Text(view.at[:19].replace("T", " ")), Text(str(view.seq)), outcome, action, who, what


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
            shown.add_row(Text(name), Text("sealed (open it with --texts or --keys)", style="dim"))
        elif value not in ("", (), {}, False, None):
            shown.add_row(
                Text(name), Text(plain(value if isinstance(value, str) else msgspec.json.encode(value).decode()))
            )
    console.print(shown)
    console.print(Text("line"), Text(plain(line.decode(errors="backslashreplace"))), sep="\n", soft_wrap=True)

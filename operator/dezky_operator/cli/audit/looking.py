"""Commands that show events: list, tail, show."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import click
import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.event import Outcome
from dezky_operator.audit.findings import Verdict
from dezky_operator.audit.query import DEFAULT_LIMIT, MOST, Found, Query, search
from dezky_operator.audit.reading import named_in, views
from dezky_operator.audit.taking import ExportError, newest_checkpoint
from dezky_operator.cli.audit.naming import index_of, partner_of, tenant_of
from dezky_operator.cli.audit.opening import Where, key_options, opened, store_options
from dezky_operator.cli.audit.output import FORMATS, Shown, details, writer_of
from dezky_operator.cli.audit.program import Opened, Program, end, finish
from dezky_operator.cli.audit.timing import moment, now
from dezky_operator.store.interface import Reader, Span
from dezky_operator.store.tables import LOG, PII

AT_ONCE = 200
FORMAT = click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)


@click.command("list")
@key_options
@store_options
@click.option("--since", default="", help="Events from this time on: 2026-11-24T03:59:58Z, 2026-11-24, 15m, 2h, 7d.")
@click.option("--until", default="", help="Events up to this time, which is included.")
@click.option("--before", default="", help="Events before this time.")
@click.option("--action", default="", help="Exact, or a beginning: authentik. or authentik.*")
@click.option("--tenant", help="Slug or tenantId; 'none' for the events of no tenant.")
@click.option("--partner", help="Uid of a partner; 'none' for the events of no partner.")
@click.option("--actor", "email", default="", help="E-mail address of who acted.")
@click.option("--outcome", default="", type=click.Choice(["", *(outcome.value for outcome in Outcome)]))
@click.option("--source", default="", help="Type of a source, or name of an AuditSource.")
@click.option("--text", "-q", default="", help="In action, resource name, actor's address and tenant's slug.")
@click.option("--limit", default=DEFAULT_LIMIT, show_default=True, type=click.IntRange(1, MOST))
@click.option("--cursor", default="", help="Where the page before said to go on.")
@click.option("--all", "whole", is_flag=True, help="All pages.")
@FORMAT
@click.pass_obj
def listed(
    program: Program,
    /,
    *,
    where: Where,
    form: str,
    whole: bool,
    **filters: Any,
) -> None:
    """Show events, newest first."""

    async def work() -> None:
        async with opened(program, where) as there:
            query = await _query(there, **filters)
            await _list(there, query, form, whole=whole)
            asked = [name for name in query.__struct_fields__ if name != "cursor" and getattr(query, name)]
            await program.told("audit.read", {"filters": ",".join(asked), "format": form})

    finish(work())


async def _query(there: Opened, *, tenant: str | None, partner: str | None, **filters: Any) -> Query:
    """What the options ask for."""
    for name in ("since", "until", "before"):
        filters[name] = moment(filters[name], now=now(), option=f"--{name}")
    return Query(tenant=await tenant_of(there.store, tenant), partner=partner_of(partner), **filters)


async def _list(there: Opened, query: Query, form: str, *, whole: bool) -> None:
    write = writer_of(form, await _note(there) if form == "ocsf" else b"")
    keys = await index_of(there, query)
    while True:
        page = await there.store.read(partial(search, query=query, keys=keys))
        write(await _shown(there, page.found))
        query = msgspec.structs.replace(query, cursor=page.next)
        if not page.next:
            return
        if not whole:
            click.echo(f"{page.looked_at} events were looked at. There may be more: --cursor {page.next}", err=True)
            return


async def _note(there: Opened) -> bytes:
    try:
        return (await newest_checkpoint(there.store)).note
    except ExportError:
        return b""


async def _shown(there: Opened, found: Sequence[Found]) -> list[Shown]:
    if there.keys is not None:
        await there.keys.find([pair for one in found for pair in named_in(one)])
    ring = there.keys.ring if there.keys else None
    seen = await there.store.read(partial(views, found=found, keys=ring))
    return [Shown(view, one) for view, one in zip(seen, found, strict=True)]


@click.command()
@key_options
@store_options
@click.option("--lines", "-n", default=10, show_default=True, type=click.IntRange(0, MOST), help="Newest events first.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.05), help="Seconds between looks.")
@click.option("--once", is_flag=True, help="Do not wait for more.")
@FORMAT
@click.pass_obj
def tail(
    program: Program,
    /,
    *,
    where: Where,
    lines: int,
    interval: float,
    once: bool,
    form: str,
) -> None:
    """Show events in the order of the log, and those that come, until interrupted."""

    async def work() -> None:
        async with opened(program, where) as there:
            write = writer_of(form, await _note(there) if form == "ocsf" else b"")
            after = await there.store.read(partial(_start, lines=lines))
            await program.told("audit.read", {"filters": "tail", "format": form})
            while True:
                found = await there.store.read(partial(_following, after=after))
                if found:
                    write(await _shown(there, found))
                    sys.stdout.flush()
                    after = found[-1].row.seq + 1
                elif once:
                    return
                else:
                    await asyncio.sleep(interval)

    finish(work())


async def _start(rows: Reader, lines: int) -> int:
    head = await hot.head_row(rows)
    return max((await hot.tip(rows, head)).size - lines, head.hot_floor)


async def _following(rows: Reader, after: int) -> list[Found]:
    some = await rows.scan(LOG, Span(after), limit=AT_ONCE)
    private = await rows.get_many(PII, [row.seq for row in some])
    return [Found(row, private.get(row.seq)) for row in some]


@click.command()
@key_options
@store_options
@click.argument("seq", type=click.IntRange(0))
@click.option("--line", is_flag=True, help="Only the line as it is stored: the evidence, byte by byte.")
@click.pass_obj
def show(program: Program, /, *, where: Where, seq: int, line: bool) -> None:
    """Show everything about the event SEQ."""

    async def work() -> None:
        async with opened(program, where) as there:
            found = await there.store.read(partial(_one, seq=seq))
            if found is None:
                end(f"seq {seq} is not in the store: archived, or never there", Verdict.INCOMPLETE)
            if line:
                sys.stdout.buffer.write(found.row.body + b"\n")
            else:
                (shown,) = await _shown(there, [found])
                details(shown.view, found.row.body)
            await program.told("audit.read", {"seq": seq})

    finish(work())


async def _one(rows: Reader, seq: int) -> Found | None:
    row = await rows.get(LOG, seq)
    return None if row is None else Found(row, await rows.get(PII, seq))


COMMANDS = (listed, tail, show)

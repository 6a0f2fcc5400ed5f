"""The command that verifies: the store, an export, a whole log in files (facts/audit-log.md 6.3)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.checkpoint import KeyChain
from dezky_operator.audit.findings import Finding, Report, Verdict
from dezky_operator.audit.heads import Head
from dezky_operator.audit.stored_trust import trust_in
from dezky_operator.audit.taking import DamagedError, ExportError, take_tenant
from dezky_operator.audit.verify import verify_lines
from dezky_operator.audit.verify_export import Checked, Export, verify_export
from dezky_operator.cli.audit import directory
from dezky_operator.cli.audit.directory import DamagedFileError, FilesError
from dezky_operator.cli.audit.naming import tenant_of
from dezky_operator.cli.audit.opening import Where, chain_of, opened, read, store_options
from dezky_operator.cli.audit.program import Opened, Program, finish, refuse

PATH = click.Path(path_type=Path)
WORDS = {
    Verdict.VALID: "VALID",
    Verdict.TAMPERED: "INVALID",
    Verdict.INCOMPLETE: "INCOMPLETE",
    Verdict.UNANCHORED: "VALID, newest lines unanchored",
}


class Asked(msgspec.Struct, frozen=True):
    """What a verification is asked for, apart from where the log is."""

    chain: KeyChain
    held: tuple[bytes, ...]
    first: int | None
    last: int | None
    tenant: str | None
    shallow: bool


@click.command()
@store_options
@click.option("--export", "exported", type=PATH, help="Verify these files instead of a store.")
@click.option("--earlier", type=PATH, multiple=True, help="With --export: the exports before it, oldest first.")
@click.option("--key", "vkey", required=True, metavar="VKEY", help="The log's public key, from elsewhere.")
@click.option("--checkpoint", "notes", type=PATH, multiple=True, help="A checkpoint kept elsewhere.")
@click.option("--from", "first", type=click.IntRange(0), help="From this seq on.")
@click.option("--to", "last", type=click.IntRange(0), help="Up to this seq, which is included.")
@click.option("--tenant", help="Slug or tenantId: whether all of its lines are there.")
@click.option("--shallow", is_flag=True, help="Leave out whether lines are in their one form: quicker.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@click.pass_obj
def verify(
    program: Program,
    /,
    *,
    where: Where,
    exported: Path | None,
    earlier: tuple[Path, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Check that nothing was changed, taken out or put in.

    Exit code: 0 valid, 1 tampered, 2 usage, 3 less was there than asked for, 4 valid but the newest lines are under no
    checkpoint yet.
    """
    asked = _asked(**options)

    async def work() -> Checked:
        if exported is not None:
            checked = _files(exported, earlier, asked)
            await program.told("log.verify", _about(checked))
            return checked
        async with opened(program, where) as there:
            checked = await _store(there, asked)
            await there.told("log.verify", _about(checked))
        return checked

    checked = finish(work())
    _say(checked, as_json=as_json)
    sys.exit(checked.report.verdict)


def _about(checked: Checked) -> dict[str, str | int]:
    return {"verdict": checked.report.verdict.name, "lines": checked.report.lines}


def _asked(
    *, vkey: str, notes: Sequence[Path], first: int | None, last: int | None, tenant: str | None, shallow: bool
) -> Asked:
    """The options, read and compared. Ends the process when they contradict each other."""
    if first is not None and last is not None and first > last:
        refuse(f"verify: --from {first} is after --to {last}")
    held = tuple(read(path, "--checkpoint") for path in notes)
    return Asked(chain_of(vkey), held, first, last, tenant, shallow)


async def _store(there: Opened, asked: Asked) -> Checked:
    """What is in a store."""
    if asked.tenant is not None:
        return await _tenant(there, asked)
    report = await there.program.verify(
        there.store,
        chain=asked.chain,
        first=asked.first,
        last=asked.last,
        held=asked.held,
        shallow=asked.shallow,
    )
    floor = (await there.store.read(hot.head_row)).hot_floor
    archived = f"archived up to seq {floor - 1}" if floor else "nothing archived"
    return Checked(report, f"the store begins with seq {floor}, {archived}")


async def _tenant(there: Opened, asked: Asked) -> Checked:
    """A tenant's lines in a store, as an export of them would be verified."""
    if (asked.first, asked.last) != (None, None):
        refuse("verify: --tenant is about all lines of a tenant; leave out --from and --to")
    tenant = await tenant_of(there.store, asked.tenant) or ""
    lines: list[bytes] = []
    try:
        taken = await take_tenant(there.store, tenant, line=lines.append)
    except ExportError as error:
        verdict = Verdict.TAMPERED if isinstance(error, DamagedError) else Verdict.INCOMPLETE
        return Checked(Report(len(lines), (Finding(f"tenant: {error}", verdict=verdict),)), "")
    export = Export(lines, taken.heads, taken.proof.encode(), taken.note, trust=await trust_in(there.store))
    return verify_export(export, chain=asked.chain, tenant=tenant, held=asked.held)


def _files(exported: Path, earlier: Sequence[Path], asked: Asked) -> Checked:
    """What is in files. A range of a whole log can only be asked of a store: files are verified as they are."""
    if (asked.first, asked.last) != (None, None):
        refuse("verify: --export verifies all that is in the files; leave out --from and --to")
    if asked.shallow:
        refuse("verify: --shallow is for stores; exports are always verified whole")
    try:
        head = _earlier(earlier, asked)
        if directory.is_part(exported):
            return verify_export(
                directory.part(exported), chain=asked.chain, tenant=asked.tenant, earlier=head, held=asked.held
            )
        return _whole(exported, asked)
    except DamagedFileError as error:
        return Checked(Report(0, (Finding(f"file: {error}"),)), "")
    except FilesError as error:
        refuse(str(error))


def _earlier(earlier: Sequence[Path], asked: Asked) -> Head | None:
    """Where the last of the exports before this one ended; each goes on after the one before it."""
    head: Head | None = None
    for path in earlier:
        checked = verify_export(directory.part(path), chain=asked.chain, tenant=asked.tenant, earlier=head)
        if checked.head is None or checked.report.verdict not in {Verdict.VALID, Verdict.UNANCHORED}:
            refuse(f"--earlier {path}: is not valid; verify it first")
        head = checked.head
    return head


def _whole(exported: Path, asked: Asked) -> Checked:
    log = directory.whole(exported)
    report = verify_lines(log.lines, [*log.notes, *asked.held], chain=asked.chain, trust=log.trust)
    found = list(report.findings)
    if not log.notes and not asked.held:
        found.append(Finding("checkpoint: none was given", verdict=Verdict.INCOMPLETE))
    if asked.tenant is not None:
        found.append(Finding("tenant: these are lines of the whole log", verdict=Verdict.INCOMPLETE))
    return Checked(Report(report.lines, tuple(found), report.unchecked), "the whole log")


def _say(checked: Checked, *, as_json: bool) -> None:
    report = checked.report
    word = WORDS[report.verdict]
    if as_json:
        findings = [
            {"text": str(one), "first": one.first, "last": one.last, "verdict": one.verdict.name}
            for one in report.findings
        ]
        said = {
            "verdict": report.verdict.name,
            "code": int(report.verdict),
            "lines": report.lines,
            "about": checked.says,
            "findings": findings,
            "notChecked": report.unchecked,
        }
        click.echo(msgspec.json.encode(said))
        return
    for finding in report.findings:
        click.echo(str(finding))
    about = f" ({checked.says})" if checked.says else ""
    click.echo(f"{word}: {report.lines} lines, {len(report.findings)} findings{about}")
    for what in report.unchecked:
        click.echo(f"not checked: {what}")


COMMANDS = (verify,)

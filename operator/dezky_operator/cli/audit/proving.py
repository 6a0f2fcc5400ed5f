"""Commands that take parts of the log out and prove single lines: export, prove, verify-proof, key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.checkpoint import KeyChain
from dezky_operator.audit.errors import NoteError, ProofError
from dezky_operator.audit.export_proof import TenantProof
from dezky_operator.audit.findings import Verdict
from dezky_operator.audit.heads import Head
from dezky_operator.audit.log_proof import parse_proof
from dezky_operator.audit.rotation import trusting
from dezky_operator.audit.stored_trust import trust_in
from dezky_operator.audit.taking import ExportError, Taken, newest_checkpoint, prove, take_range, take_tenant
from dezky_operator.audit.verify_export import Value, verify_export
from dezky_operator.cli.audit import directory
from dezky_operator.cli.audit.directory import FilesError, Writing
from dezky_operator.cli.audit.naming import tenant_of
from dezky_operator.cli.audit.opening import Where, chain_of, installation, installed_keys, opened, read, store_options
from dezky_operator.cli.audit.program import Opened, Program, end, finish, refuse
from dezky_operator.config import load

PATH = click.Path(path_type=Path)


class Wanted(msgspec.Struct, frozen=True):
    """What an export is asked for. Ends the process when the options contradict each other."""

    out: Path
    tenant: str | None
    values: bool
    earlier: Path | None
    first: int | None
    last: int | None
    vkey: str | None

    def __post_init__(self) -> None:
        whole = (self.first, self.last) == (None, None)
        if (self.values or self.earlier) and self.tenant is None:
            refuse("export: --values and --earlier go with --tenant")
        if self.tenant is not None and not whole:
            refuse("export: --tenant takes all lines of a tenant; leave out --from and --to")


@click.command()
@store_options
@click.option("--out", type=PATH, required=True, help="A directory that is new or empty.")
@click.option("--tenant", help="Slug or tenantId: all of its lines, and the proof that none was left out.")
@click.option("--values", is_flag=True, help="With --tenant: the personal values, too, which the lines only commit to.")
@click.option("--earlier", type=PATH, help="With --tenant: go on after this export.")
@click.option("--from", "first", type=click.IntRange(0), help="Lines from this seq on.")
@click.option("--to", "last", type=click.IntRange(0), help="Lines up to this seq, which is included.")
@click.option("--key", "vkey", help="With --earlier: the log's vkey, under which that export is checked.")
@click.pass_obj
def export(
    program: Program,
    /,
    *,
    where: Where,
    **options: Any,
) -> None:
    """Take a tenant's lines, a range, or all of the log out, with what proves them."""
    wanted = Wanted(**options)
    after = _ended(wanted.earlier, wanted.vkey) if wanted.earlier else None

    async def work() -> None:
        async with opened(program, where) as there:
            writing = _writing(wanted.out)
            if wanted.tenant is not None:
                taken = await _tenant(there, wanted, writing, after=after)
            else:
                taken = await _lines(there, wanted, writing)
            tenant = taken.proof.tenant if isinstance(taken.proof, TenantProof) else ""
            await there.told("log.export", {"tenant": tenant, "lines": taken.lines})
            size = taken.note.split()[1].decode()
            click.echo(f"{wanted.out}: {taken.lines} lines, under the checkpoint of size {size}")

    finish(work())


def _writing(out: Path) -> Writing:
    try:
        return Writing(out)
    except FilesError as error:
        refuse(str(error))


def _ended(earlier: Path, vkey: str | None) -> Head:
    """Where the export before ended, once that is verified."""
    if vkey is None:
        refuse("export: --earlier needs --key, the log's vkey")
    try:
        checked = verify_export(directory.part(earlier), chain=chain_of(vkey), earlier=None)
    except FilesError as error:
        refuse(f"--earlier: {error}")
    tampered = checked.report.verdict is Verdict.TAMPERED
    if checked.head is None or tampered:
        end(f"--earlier {earlier}: is not valid: run `audit verify --export`", Verdict.TAMPERED)
    return checked.head


async def _tenant(there: Opened, wanted: Wanted, writing: Writing, *, after: Head | None) -> Taken:
    plain: list[bytes] = []

    def value(one: Value) -> None:
        plain.append(msgspec.json.encode(one) + b"\n")

    tenant = await tenant_of(there.store, wanted.tenant) or ""
    handed = value if wanted.values else None
    taken = await take_tenant(there.store, tenant, line=writing.line, value=handed, after=after)
    files = {
        directory.HEADS: taken.heads + b"\n",
        directory.PROOF: taken.proof.encode(),
        directory.NOTE: taken.note,
        directory.VALUES: b"".join(plain),
        directory.TRUST: await trust_in(there.store),
    }
    writing.finish(files)
    return taken


async def _lines(there: Opened, wanted: Wanted, writing: Writing) -> Taken:
    """A range, or the whole log, which needs no proof beside its checkpoint."""
    floor = (await there.store.read(hot.head_row)).hot_floor
    if floor and wanted.first is None:
        raise ExportError(f"seq 0..{floor - 1} is in the archive: name what you want with --from {floor}")
    size = (await newest_checkpoint(there.store)).checkpoint.size
    taken = await take_range(there.store, wanted.first or 0, wanted.last, line=writing.line)
    whole = taken.lines == size
    files = {directory.PROOF: b"" if whole else taken.proof.encode(), directory.NOTE: taken.note}
    writing.finish(files | {directory.TRUST: await trust_in(there.store)})
    return taken


@click.command("prove")
@store_options
@click.option("--seq", type=click.IntRange(0), required=True)
@click.option("--out", type=PATH, required=True, help="Beginning of the names: .tlog-proof, .line, .trust.")
@click.pass_obj
def proved(program: Program, /, *, where: Where, seq: int, out: Path) -> None:
    """Write one line and the proof that it is in the log (C2SP tlog-proof).

    If the log's key was ever replaced, what leads from its first key to the later ones goes along.
    """

    async def work() -> None:
        async with opened(program, where) as there:
            line, proof = await prove(there.store, seq)
            files = {"tlog-proof": proof.encode(), "line": line + b"\n", "trust": await trust_in(there.store)}
            try:
                for kind, data in files.items():
                    if data:
                        out.with_name(f"{out.name}.{kind}").write_bytes(data)
            except OSError as error:
                refuse(f"--out {out}: can not be written ({error.strerror})")
            await there.told("log.export", {"seq": seq, "lines": 1})
            click.echo(f"{out}.tlog-proof proves {out}.line: {len(proof.hashes)} hashes")

    finish(work())


@click.command("verify-proof")
@click.argument("proof", type=PATH)
@click.option("--line", type=PATH, required=True, help="The line, with or without its LF.")
@click.option("--key", "vkey", required=True, metavar="VKEY", help="The log's first public key, from elsewhere.")
@click.option("--trust", type=PATH, help="What leads from it to later keys: the file .trust or trust.txt.")
def verified_proof(*, proof: Path, line: Path, vkey: str, trust: Path | None) -> None:
    """Check a proof of one line without the log."""
    chain: KeyChain = chain_of(vkey)
    given, stored = read(proof, "PROOF"), read(line, "--line").removesuffix(b"\n")
    later = read(trust, "--trust") if trust is not None else b""
    try:
        opened_note = parse_proof(given).verify(stored, trusting(chain, later))
    except (ProofError, NoteError) as error:
        click.echo(f"INVALID: {error}")
        raise SystemExit(Verdict.TAMPERED) from None
    size = opened_note.checkpoint.size
    click.echo(f"VALID: the line is in {chain.origin} under the checkpoint of size {size}")


@click.command()
@store_options
@click.option("--keys", type=PATH, help="A file with the keys, instead of the installation's.")
@click.pass_obj
def key(program: Program, /, *, where: Where) -> None:
    """Print the log's public keys, the newest last. Keep the first one away from the log: it is checked with that one,
    also after it was replaced.
    """

    async def work() -> None:
        if where.keys is not None:
            vkeys = program.keys(where.keys).vkeys
        else:
            async with opened(program, where) as there:
                vkeys = (await installed_keys(program, where, there.store)).vkeys
        if not vkeys:
            refuse(f"{where.keys}: holds no vkey")
        for vkey in vkeys:
            click.echo(vkey)
        if len(vkeys) > 1:
            click.echo("Everything is checked with the first of these; it leads to the others.", err=True)

    finish(work())


@click.command("rotate-key")
@click.option("--config", type=PATH, envvar="DEZKY_CONFIG", help="The settings file.")
@click.option("--kubeconfig", help="The way to the cluster; without it the pod's service account.")
@click.pass_obj
def rotated(program: Program, /, *, config: Path | None, kubeconfig: str | None) -> None:
    """Make the key that signs the log from now on.

    It goes into the Secret of the keys. The operator finds it there within a minute, names it in a line key.rotated,
    and has the next checkpoint signed by both keys. The first public key stays the one that the log is checked with.
    """
    if config is None:
        refuse("rotate-key: the installation's keys are in its cluster: name its settings file with --config.")

    async def work() -> str:
        return await installation(program, load(config), Where(config, None, kubeconfig)).add_key()

    click.echo(finish(work()))
    click.echo("Back the Secret up. The key signs once `audit list --action key.rotated` shows its line.", err=True)


COMMANDS = (export, proved, verified_proof, key, rotated)

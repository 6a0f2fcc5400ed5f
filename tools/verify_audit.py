#!/usr/bin/env python3
"""Check an exported audit log of dezky-operator with nothing but Python's standard library.

    verify_audit.py DIRECTORY --key VKEY [--checkpoint FILE ...]

DIRECTORY holds the lines: *.jsonl and *.jsonl.gz, taken in the order of their names, from seq 0 on. The checkpoints are
FILE, or *.note in DIRECTORY. VKEY is the log's public key; it must come from somewhere else than the export.

A tenant's export or a range (proof.txt is in it) is for verify_export.py, which stands beside this file.

Prints a line for each finding and a summary. Exit code: 0 valid, 1 tampered, 2 usage, 3 incomplete (less was given
than asked for), 4 valid but the newest lines are under no checkpoint.
It shares no code with the operator, on purpose.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import sys
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

VALID, TAMPERED, USAGE, INCOMPLETE, UNANCHORED = range(5)
LONGEST, LARGEST, ZEROS = 65_535, 2**53 - 1, "0" * 64
NOT_CHECKED = (
    "signature lines of other keys (HMAC, time, witnesses)",
    "keys after the first one, manifests, object locks, the map of tenants",
    "values behind commitments, sealed texts, erasures, index fields of the database",
)
Point = tuple[int, int, int, int]
Key = tuple[str, bytes, bytes]

# Ed25519, RFC 8032, verification only
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def recover_x(y: int, sign: int) -> int | None:
    """The x of a point, or None when there is none or the encoding is not the shortest."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x * SQRT_M1 % P if (x * x - square) % P else x
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def add(p: Point, q: Point) -> Point:
    """Two points in extended coordinates."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar: int, point: Point) -> Point:
    """A point added to itself ``scalar`` times."""
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def compressed(point: Point) -> bytes:
    """The 32 bytes of a point."""
    x, y = (point[n] * pow(point[2], -1, P) % P for n in (0, 1))
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE_Y = 4 * pow(5, -1, P) % P
BASE_X = recover_x(BASE_Y, 0) or 0
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the 64 bytes sign the message under the key."""
    whole, s = int.from_bytes(public, "little"), int.from_bytes(signature[32:], "little")
    y, sign = whole & (1 << 255) - 1, whole >> 255
    x = recover_x(y, sign)
    if x is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    minus_a = (P - x, y, 1, (P - x) * y % P)
    return compressed(add(times(s, BASE), times(k, minus_a))) == signature[:32]


class Bad(Exception):  # noqa: N818 - read as a sentence: raise Bad(why)
    """What is wrong, in words."""


def unbase64(text: str) -> bytes:
    """Bytes of base64 that is equal to its own re-encoding."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Bad("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Bad("not canonical base64")
    return data


def key_of(vkey: str) -> Key:
    """Name, id and public key of a log's vkey."""
    parts = vkey.split("+", 2)
    if len(parts) != 3 or not re.fullmatch(r"[^\s+]+", parts[0]) or not re.fullmatch(r"[0-9a-f]{8}", parts[1]):
        raise Bad("a vkey looks like name+8 hex digits+base64")
    material = unbase64(parts[2])
    identity = hashlib.sha256(parts[0].encode() + b"\n" + material).digest()[:4]
    if len(material) != 33 or material[0] != 1 or identity.hex() != parts[1]:
        raise Bad("no Ed25519 key, or not that of its id")
    return parts[0], identity, material[1:]


def checkpoint_of(note: bytes, key: Key) -> tuple[int, bytes, list[str]]:
    """Size and root of a checkpoint that the key signed, and the names of lines nobody checked."""
    if len(note) > 65_536:
        raise Bad("longer than 65536 bytes")
    try:
        whole = note.decode()
    except UnicodeDecodeError:
        raise Bad("no UTF-8") from None
    text, gap, rest = whole.rpartition("\n\n")
    if re.search(r"[\x00-\x09\x0b-\x1f\x7f]", whole) or not gap or not rest.endswith("\n") or rest.count("\n") > 100:
        raise Bad("not a text, an empty line and at most 100 signature lines")
    signatures = [signature_of(line) for line in rest[:-1].split("\n")]
    own = [blob for name, identity, blob in signatures if (name, identity) == key[:2]]
    if not own:
        raise Bad("not signed by the key that was given")
    if len(own) > 1 or len(own[0]) != 64 or not signed(key[2], f"{text}\n".encode(), own[0]):
        raise Bad("the log's signature is wrong or there twice")
    return *size_and_root(text, key[0]), [name for name, *rest in signatures if (name, rest[0]) != key[:2]]


def signature_of(line: str) -> tuple[str, bytes, bytes]:
    """Name, key id and the rest of a signature line."""
    found = re.fullmatch("\u2014 ([^\\s+]+) ([A-Za-z0-9+/=]+)", line)
    blob = unbase64(found[2]) if found else b""
    if not found or len(blob) <= 4:
        raise Bad("not a signature line")
    return found[1], blob[:4], blob[4:]


def size_and_root(text: str, name: str) -> tuple[int, bytes]:
    """What the three lines of a checkpoint say."""
    lines = text.split("\n")
    if len(lines) != 3:
        raise Bad("not three lines")
    if lines[0] != name:
        raise Bad("origin: of another log")
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", lines[1]) or int(lines[1]) > LARGEST + 1:
        raise Bad("no size")
    root = unbase64(lines[2])
    if len(root) != 32:
        raise Bad("no root")
    return int(lines[1]), root


# One pattern for the whole canonical form of a line, and no JSON reader in between.
TEXT = r'[^"\\\x00-\x1f]*(?:\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))[^"\\\x00-\x1f]*)*'
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
WHOLE, COUNT, HASH = r"(?:0|-?[1-9][0-9]{0,15})", r"(?:0|[1-9][0-9]{0,15})", r"[0-9a-f]{64}"
PATHS = r"(?:actor\.(?:email|id|ip)|after|before|partner\.slug|raw|resource\.(?:id|name)|tenant\.slug)"
DATUM = rf'"[a-z0-9_.]{{1,128}}":(?:"{TEXT}"|{WHOLE}|true|false)'
MADE = rf'"{PATHS}":"{HASH}"'
PARTY = rf'\{{"ref":"((?:[0-9a-f]{{16}})?)","type":"{TEXT}"\}}'
LINE = re.compile(
    rf'\{{"action":"(?!"){TEXT}","actor":{PARTY},"at":"({TIME})","c":\{{((?:{MADE}(?:,{MADE})*)?)\}},'
    rf'"data":\{{((?:{DATUM}(?:,{DATUM})*)?)\}},"ext":"(?!")({TEXT})","origin":"({UUID}/audit/[1-9][0-9]{{0,15}})",'
    rf'"outcome":"(?:success|failure|denied|unknown)","partner":"(?:{UUID})?","prev":"({HASH})","raw_len":({COUNT}),'
    rf'"rec":"({TIME})","recv":"({TIME})","resource":{PARTY},"seq":({COUNT}),"source":"[a-z]{{1,32}}",'
    r'"src":"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?",'
    rf'"t_prev":"({HASH})","t_seq":({COUNT}),"tenant":"((?:{UUID})?)","time_source":"(source|rec|clamped)","v":1\}}'
)
DATA = re.compile(rf'"([a-z0-9_.]+)":(?:"{TEXT}"|({WHOLE})|true|false)')
ESCAPE = re.compile(r"\\(?:u[0-9a-f]{4}|.)")


def fields_of(stored: bytes) -> tuple[str, int, str, str, str, int, str]:
    """Origin, seq, prev, rec, tenant, t_seq, t_prev of a canonical line; Bad for anything else."""
    if len(stored) > LONGEST:
        raise Bad("too long")
    try:
        found = LINE.fullmatch(stored.decode())
    except UnicodeDecodeError:
        raise Bad("no UTF-8") from None
    if not found:
        raise Bad("not the form of line v1")
    actor, at, made, data, ext, origin, prev, raw_len, rec, recv, resource, *rest = found.groups()
    seq, t_prev, t_seq, tenant, clock = rest
    names = made.split('"')[1::4]
    if data:
        check_data(data)
    check_times(at, rec, recv, clock)
    if sorted(set(names)) != names:
        raise Bad("commitments out of order or twice")
    if (actor == "") is ("actor.id" in names) or (resource == "") is ("resource.id" in names):
        raise Bad("a ref without its commitment")
    if (raw_len == "0") is ("raw" in names):
        raise Bad("raw_len without its commitment")
    long = len(ext) > 1_024 and len(ESCAPE.sub("x", ext)) > 1_024
    if long or int(seq) > LARGEST or int(t_seq) > LARGEST or int(raw_len) > LARGEST:
        raise Bad("a number or id too large")
    return origin, int(seq), prev, rec, tenant, int(t_seq), t_prev


def check_data(data: str) -> None:
    """Refuse keys out of order or twice and numbers that are too large."""
    last = ""
    for name, number in DATA.findall(data):
        if name <= last or (number and abs(int(number)) > LARGEST):
            raise Bad("data out of order, twice or too large")
        last = name


def check_times(at: str, rec: str, recv: str, clock: str) -> None:
    """Refuse days that do not exist and times that do not fit their source."""
    try:
        datetime.fromisoformat(at[:-1]), datetime.fromisoformat(rec[:-1]), datetime.fromisoformat(recv[:-1])
    except ValueError:
        raise Bad("a time that does not exist") from None
    if (clock == "rec" and at != rec) or (clock == "clamped" and not at.endswith(":59.999999Z")):
        raise Bad("at does not fit time_source")


class Log:
    """The walk over all lines."""

    def __init__(self, origin: str, roots: dict[int, bytes]) -> None:
        self.origin, self.roots = origin, roots
        self.findings: list[tuple[int, str]] = []
        self.peaks: list[bytes] = []
        self.tenants: dict[str, tuple[int, str]] = {}
        self.count, self.expected, self.prev, self.rec = 0, 0, ZEROS, ""
        self.compare()

    def found(self, verdict: int, what: str, first: int | None = None, last: int | None = None) -> None:
        """One line for a person."""
        where = "" if first is None else f"seq {first} " if last in (None, first) else f"seq {first}..{last} "
        self.findings.append((verdict, where + what))

    def take(self, stored: bytes) -> None:
        """The next line without LF."""
        leaf = hashlib.sha256(b"\x00" + stored).digest()
        try:
            self.check(fields_of(stored), leaf.hex())
        except Bad as bad:
            self.found(TAMPERED, f"not canonical: {bad}", self.expected)
            self.expected += 1
        self.prev = leaf.hex()
        size = self.count
        while size & 1:
            leaf, size = hashlib.sha256(b"\x01" + self.peaks.pop() + leaf).digest(), size >> 1
        self.peaks.append(leaf)
        self.count += 1
        self.compare()

    def check(self, line: tuple[str, int, str, str, str, int, str], leaf: str) -> None:
        """The line's place in the log and among its tenant's lines."""
        origin, seq, prev, rec, tenant, t_seq, t_prev = line
        if origin != self.origin:
            self.found(TAMPERED, f"origin: {self.origin} was expected", seq)
        if seq > self.expected:
            self.found(TAMPERED, "missing", self.expected, seq - 1)
        elif seq < self.expected:
            self.found(TAMPERED, f"out of order: {self.expected} was expected", seq)
        elif prev != self.prev:
            self.found(TAMPERED, "prev: not the hash of the line before", seq)
        if self.tenants.get(tenant, (0, ZEROS)) != (t_seq, t_prev):
            self.found(TAMPERED, "t_prev: not after the tenant's line before", seq)
        if rec < self.rec:
            self.found(TAMPERED, "rec: before that of the line before", seq)
        self.tenants[tenant] = t_seq + 1, leaf
        self.expected, self.rec = seq + 1, rec

    def compare(self) -> None:
        """The root, where a checkpoint speaks of it."""
        if self.count not in self.roots:
            return
        root = self.peaks[-1] if self.peaks else hashlib.sha256().digest()
        for peak in reversed(self.peaks[:-1]):
            root = hashlib.sha256(b"\x01" + peak + root).digest()
        if root != self.roots[self.count]:
            self.found(TAMPERED, f"root: not that of the checkpoint at size {self.count}")

    def finish(self) -> None:
        """What only the end shows."""
        anchored = max(self.roots, default=0)
        if self.expected < anchored:
            self.found(TAMPERED, "missing: the log ends before its checkpoint", self.expected, anchored - 1)
        elif self.count < anchored:
            self.found(TAMPERED, f"root: {anchored} lines are under the checkpoint, found {self.count}")
        elif self.count > anchored:
            self.found(UNANCHORED, "unanchored", anchored, self.count - 1)
        if not self.count and not anchored:
            self.found(INCOMPLETE, "nothing to verify")


def chunks_of(path: Path) -> Iterator[bytes]:
    """The plain bytes of a file, piece by piece. A gzip file has one member and nothing after it."""
    packed = zlib.decompressobj(31) if path.suffix == ".gz" else None
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if packed is None:
                yield piece
                continue
            try:
                while piece:
                    yield packed.decompress(piece, 1 << 24)
                    piece = packed.unconsumed_tail
            except zlib.error:
                raise Bad(f"{path.name}: not gzip") from None
            if packed.unused_data:
                raise Bad(f"{path.name}: trailing data")
    if packed is not None and not packed.eof:
        raise Bad(f"{path.name}: cut off")


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file without LF; one that is far too long comes in pieces, and all of them are refused."""
    rest = b""
    for chunk in chunks_of(path):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > 1 << 24:
            yield rest
            rest = b""
    if rest:
        yield rest


def walk(directory: Path, notes: list[Path], key: Key) -> tuple[list[tuple[int, str]], int, list[str]]:
    """All findings, the number of lines, and the names on signature lines nobody checked."""
    bad: list[tuple[int, str]] = []
    roots: dict[int, bytes] = {}
    others: dict[str, None] = {}
    for path in notes:
        try:
            size, root, names = checkpoint_of(path.read_bytes(), key)
        except Bad as error:
            bad.append((TAMPERED, f"checkpoint: {path.name}: {error}"))
            continue
        others.update(dict.fromkeys(names))
        if roots.setdefault(size, root) != root:
            bad.append((TAMPERED, f"split view: two roots at size {size}"))
    log = Log(key[0], roots)
    for path in sorted(directory.glob("*.jsonl*")):
        if path.suffix not in {".jsonl", ".gz"}:
            log.found(INCOMPLETE, f"codec: {path.name} can not be read here")
            continue
        try:
            for line in lines_of(path):
                log.take(line)
        except Bad as error:
            log.found(TAMPERED, f"file: {error}")
    log.finish()
    return bad + log.findings, log.count, list(others)


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--key", required=True, metavar="VKEY")
    parser.add_argument("--checkpoint", type=Path, action="append", metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        key = key_of(given.key)
    except Bad as error:
        parser.error(f"--key: {error}")
    if not given.directory.is_dir() or (given.directory / "proof.txt").exists():
        parser.error(f"{given.directory} is no directory, or no whole log: proof.txt is for verify_export.py")
    notes = given.checkpoint or sorted(given.directory.glob("*.note"))
    absent = [path for path in notes if not path.is_file()]
    findings, count, others = walk(given.directory, [path for path in notes if path not in absent], key)
    findings += [(INCOMPLETE, f"checkpoint: {path.name} is not there") for path in absent]
    findings += [] if notes else [(INCOMPLETE, "checkpoint: none was given")]
    verdicts = {verdict for verdict, _ in findings}
    code = next((code for code in (TAMPERED, INCOMPLETE, UNANCHORED) if code in verdicts), VALID)
    word = ("VALID", "INVALID", "", "INCOMPLETE", "VALID, newest lines unanchored")[code]
    said = [what for _, what in findings] + [f"{word}: {count} lines, {len(findings)} findings"]
    said += [f"not checked: {what}" for what in (*(f"the signature line of {name}" for name in others), *NOT_CHECKED)]
    sys.stdout.write("\n".join(said) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

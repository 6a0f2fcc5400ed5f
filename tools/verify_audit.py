#!/usr/bin/env python3
"""Check an exported audit log of dezky-operator with nothing but Python's standard library.

    verify_audit.py DIRECTORY --key VKEY [--checkpoint FILE ...]

DIRECTORY holds the lines: *.jsonl and *.jsonl.gz, taken in the order of their names, from seq 0 on. The checkpoints are
FILE, or *.note in DIRECTORY. VKEY is the log's first public key, from somewhere else than the export; trust.txt proves
later ones. A tenant's export or a range (proof.txt is in it) is for verify_export.py, which stands beside this file.

Prints a line for each finding and a summary. Exit code: 0 valid, 1 tampered, 2 usage, 3 incomplete (less was given
than asked for), 4 valid but the newest lines are under no checkpoint. It shares no code with the operator, on purpose.
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
    "signature lines of other keys (HMAC, time, witnesses), manifests, object locks, the map of tenants",
    "values behind commitments, sealed texts, erasures, index fields of the database",
)
Point = tuple[int, int, int, int]
Key = tuple[str, bytes, bytes]
Range = tuple[int, int, Key, bytes]  # the sizes at which a key signs, both included, and the root at the first of them
NOTE = re.compile(
    "(([^\\n]+)\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/=]+)\n)\n"
    "((?:\u2014 [^\\s+\\x00-\\x1f\\x7f]+ [A-Za-z0-9+/=]+\n){1,100})"
)
# Of a line that is canonical: what is quoted in a text has a backslash before its quotes, so nothing else fits.
ROTATED = re.compile(
    rb'\{"action":"key\.rotated",.*"c":\{\},"data":\{"sha256":"([0-9a-f]{64})","vkey":"([^"\\]+)"\},.*"src":"operator",'
    rb'"t_prev":"[0-9a-f]{64}","t_seq":[0-9]+,"tenant":"","time_source":"[a-z]+","v":1\}'
)

# Ed25519, RFC 8032, verification only
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def recover_x(y: int, sign: int) -> int | None:
    """The x of a point, or None when there is none or the encoding is not the shortest."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x * SQRT_M1 % P if (x * x - square) % P else x
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def add(p: Point, q: Point) -> Point:
    """Two points in extended coordinates."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


BASE_X, BASE_Y = recover_x(4 * pow(5, -1, P) % P, 0) or 0, 4 * pow(5, -1, P) % P
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the 64 bytes sign the message under the key."""
    whole, s = int.from_bytes(public, "little"), int.from_bytes(signature[32:], "little")
    y, sign = whole & (1 << 255) - 1, whole >> 255
    x = recover_x(y, sign)
    if x is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    minus_a, sum_ = (P - x, y, 1, (P - x) * y % P), (0, 1, 1, 0)
    for bit in range(255, -1, -1):
        sum_ = add(sum_, sum_)
        sum_ = add(sum_, BASE) if s >> bit & 1 else sum_
        sum_ = add(sum_, minus_a) if k >> bit & 1 else sum_
    x, y = (sum_[n] * pow(sum_[2], -1, P) % P for n in (0, 1))
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


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
    found = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", vkey)
    material = unbase64(found[3]) if found else b""
    made = hashlib.sha256(found[1].encode() + b"\n" + material).hexdigest() if found else ""
    if not found or len(material) != 33 or material[0] != 1 or made[:8] != found[2]:
        raise Bad("no vkey of an Ed25519 key, which looks like name+8 hex digits+base64")
    return found[1], bytes.fromhex(found[2]), material[1:]


def note_of(note: bytes, name: str) -> tuple[int, bytes, bytes, list[tuple[str, bytes, bytes]]]:
    """Size and root of a checkpoint of this log, what is signed, and name, key id and rest of each signature line."""
    found = NOTE.fullmatch(note.decode(errors="replace")) if len(note) <= 65_536 else None
    if not found or found[0].encode() != note:
        raise Bad("not the three lines of a checkpoint, an empty line and at most 100 signature lines")
    if found[2] != name:
        raise Bad("origin: of another log")
    root, lines = unbase64(found[4]), [line.split(" ") for line in found[5][:-1].split("\n")]
    signatures = [(who, unbase64(blob)[:4], unbase64(blob)[4:]) for _, who, blob in lines]
    if len(root) != 32 or int(found[3]) > LARGEST + 1 or not all(blob for *_, blob in signatures):
        raise Bad("no size, no root or no signature")
    return int(found[3]), root, found[1].encode(), signatures


def checkpoint_of(note: bytes, keys: list[Range]) -> tuple[int, bytes, list[str]]:
    """Size and root of a checkpoint that the log's key for its size signed, and the names of lines nobody checked."""
    size, root, text, signatures = note_of(note, keys[0][2][0])
    for first, last, (name, identity, public), _ in keys:
        own = [blob for who, found, blob in signatures if (who, found) == (name, identity)]
        if bool(own) is not (first <= size <= last):
            raise Bad(f"key out of range: {identity.hex()}" if own else "not signed by the log's key for its size")
        if own and (len(own) > 1 or len(own[0]) != 64 or not signed(public, text, own[0])):
            raise Bad("the log's signature is wrong or there twice")
    known = {key[:2] for _, _, key, _ in keys}
    return size, root, [who for who, found, _ in signatures if (who, found) not in known]


def keys_of(key: Key, path: Path, findings: list[tuple[int, str]]) -> list[Range]:
    """The first key, and those that trust.txt proves: a line under a checkpoint that both signed names the next."""
    keys = first = [(0, LARGEST + 1, key, b"")]
    try:
        for block in filter(None, re.split(rb"(?m)^(?=\{)", path.read_bytes() if path.is_file() else b"")):
            keys = followed(keys, *block.partition(b"\n")[::2])
    except Bad as bad:
        findings.append((TAMPERED, f"trust: {bad}"))
        return first
    return keys


def followed(keys: list[Range], line: bytes, proof: bytes) -> list[Range]:
    """The keys and the one that the line names, from the checkpoint in its proof on."""
    head, _, note = proof.partition(b"\n\n")
    (origin, seq, *_), named = fields_of(line), ROTATED.fullmatch(line)
    start, *path = head.decode(errors="replace").split(f"\nindex {seq}")
    if start != "c2sp.org/tlog-proof@v1" or len(path) != 1 or path[0][:1] not in {"", "\n"} or not named:
        raise Bad("not a line key.rotated of the operator with its proof")
    new, hashes = key_of(named[2].decode()), [unbase64(one) for one in path[0].split("\n")[1:]]
    *earlier, (first, _, newest, at_first) = keys
    size, root, *_ = note_of(note, newest[0])
    longer = [*earlier, (first, size, newest, at_first), (size, LARGEST + 1, new, root)]
    checkpoint_of(note, longer)
    if size < first or new in [old for _, _, old, _ in keys] or {new[0], origin} != {newest[0]}:
        raise Bad("a key that can not follow the one before it")
    made, leaf = hashlib.sha256(named[2]).hexdigest().encode(), hashlib.sha256(b"\x00" + line).digest()
    if made != named[1] or above(seq, size, leaf, hashes) != root:
        raise Bad("the line is not under the checkpoint that both keys signed, or holds another hash of the key")
    return longer


def above(place: int, size: int, node: bytes, path: list[bytes]) -> bytes:
    """The root over a leaf whose audit path is known (RFC 6962); empty when the path is not of such a tree."""
    if size == 1 or not path:
        return node if size == 1 and not path and not place else b""
    half = 1 << (size - 1).bit_length() - 1
    if place < half:
        return hashlib.sha256(b"\x01" + above(place, half, node, path[:-1]) + path[-1]).digest()
    return hashlib.sha256(b"\x01" + path[-1] + above(place - half, size - half, node, path[:-1])).digest()


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
    try:
        found = LINE.fullmatch(stored.decode()) if len(stored) <= LONGEST else None
    except UnicodeDecodeError:
        raise Bad("no UTF-8") from None
    if not found:
        raise Bad("not the form of line v1")
    actor, at, made, data, ext, origin, prev, raw_len, rec, recv, resource, *rest = found.groups()
    seq, t_prev, t_seq, tenant, clock = rest
    names = made.split('"')[1::4]
    found_data = DATA.findall(data) if data else ()
    keys = [name for name, _ in found_data]
    if sorted(set(keys)) != keys or any(number and abs(int(number)) > LARGEST for _, number in found_data):
        raise Bad("data out of order, twice or too large")
    try:
        datetime.fromisoformat(at[:-1]), datetime.fromisoformat(rec[:-1]), datetime.fromisoformat(recv[:-1])
    except ValueError:
        raise Bad("a time that does not exist") from None
    if (clock == "rec" and at != rec) or (clock == "clamped" and not at.endswith(":59.999999Z")):
        raise Bad("at does not fit time_source")
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
            try:
                while packed and piece:
                    yield packed.decompress(piece, 1 << 24)
                    piece = packed.unconsumed_tail
            except zlib.error:
                raise Bad(f"{path.name}: not gzip") from None
            yield piece
            if packed and packed.unused_data:
                raise Bad(f"{path.name}: trailing data")
    if packed and not packed.eof:
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
    keys = keys_of(key, directory / "trust.txt", bad)
    roots = {size: root for size, _, _, root in keys[1:]}
    others: dict[str, None] = {}
    for path in notes:
        try:
            size, root, names = checkpoint_of(path.read_bytes(), keys)
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

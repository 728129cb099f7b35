"""Damages files: bits, blocks, numbers, text, and the structure of JSON, DICOM, gzip and zip."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HEADER_BYTES = 1024  # most mutations fall in here, where the claims of a file are
NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
)
TEXTS = ("", "0", "-1", "1e9", "1000000000", "99999999999999999999", "nan", "inf", "-0.0", "1e-320", "\x00",
         "ü", "../../secret", "/etc/hostname", "C:\\x", "a" * 3000, "%d", "[" * 2000)  # fmt: skip
VALUES: tuple[Any, ...] = (None, True, 0, -1, 1, 10**9, 10**18, 10**400, 0.5, -1e308,
                           float("nan"), float("inf"), "", "x", "../x", "1" * 5000, [], [[]], {}, {"x": 1},
                           [1] * 1000)  # fmt: skip


def _place(rng: random.Random, size: int) -> int:
    return rng.randrange(min(size, HEADER_BYTES) if rng.random() < 0.6 else size) if size else 0


def flip_bits(rng: random.Random, data: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[_place(rng, len(data))] ^= 1 << rng.randrange(8)
    return data


def set_bytes(rng: random.Random, data: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 2, 8))):
        data[_place(rng, len(data))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return data


def set_number(rng: random.Random, data: bytearray) -> bytearray:
    code = rng.choice("bhiqfd")
    number_format = rng.choice("<>") + code
    number: float = rng.choice(NUMBERS)
    if code in "fd":
        number = rng.choice((float(number), 1e30, -1e30, float("nan"), float("inf"), 0.0))
        packed = struct.pack(number_format, number)
    else:
        bits = 8 * struct.calcsize(code)
        packed = (int(number) % 2**bits).to_bytes(bits // 8, "little" if number_format[0] == "<" else "big")
    at = _place(rng, len(data)) // 2 * 2
    data[at : at + len(packed)] = packed
    return data


def splice(rng: random.Random, data: bytearray) -> bytearray:
    start, length = _place(rng, len(data)), rng.choice((1, 4, 16, 64, 512))
    at = _place(rng, len(data))
    data[at : at + length] = data[start : start + length]
    return data


def truncate(rng: random.Random, data: bytearray) -> bytearray:
    return data[: _place(rng, len(data))]


def insert(rng: random.Random, data: bytearray) -> bytearray:
    at = _place(rng, len(data))
    block = rng.choice((bytes(4), bytes(1000), rng.randbytes(16), b"\xff" * 64, bytes(data[at : at + 200])))
    return data[:at] + block + data[at:]


def zero_block(rng: random.Random, data: bytearray) -> bytearray:
    at, length = _place(rng, len(data)), rng.choice((4, 32, 512))
    data[at : at + length] = bytes(len(data[at : at + length]))
    return data


def set_text(rng: random.Random, data: bytearray) -> bytearray:
    """Another text or number in place of a run of letters or digits."""
    runs = list(re.finditer(rb"-?\d+(?:\.\d+)?|[A-Za-z_]{3,}", bytes(data[: 64 * HEADER_BYTES])))
    if not runs:
        return flip_bits(rng, data)
    run = rng.choice(runs[:400])
    return data[: run.start()] + rng.choice(TEXTS).encode() + data[run.end() :]


PLAIN = (flip_bits, set_bytes, set_number, set_number, splice, truncate, insert, zero_block, set_text)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        mutated = rng.choice(PLAIN)(rng, mutated) if mutated else bytearray(rng.randbytes(8))
    return bytes(mutated)


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    content = json.loads(data)
    if rng.random() < 0.05:
        return rng.choice((b"[" * 200_000, b'{"a":' * 100_000, b'"\xff"', b"\xef\xbb\xbf" + data))
    for _ in range(rng.choice((1, 1, 2))):
        content = _mutate_node(rng, content)
    return json.dumps(content).encode()


def _mutate_node(rng: random.Random, node: Any) -> Any:
    if isinstance(node, dict) and node and rng.random() < 0.9:
        key = rng.choice(list(node))
        kind = rng.random()
        if kind < 0.1:
            return {k: v for k, v in node.items() if k != key}
        if kind < 0.15:
            return {**node, rng.choice(TEXTS): node[key]}
        return {**node, key: _mutate_node(rng, node[key])}
    if isinstance(node, list) and node and rng.random() < 0.8:
        at = rng.randrange(len(node))
        kind = rng.random()
        if kind < 0.2:
            return node[:at] + node[at + 1 :]
        if kind < 0.4:
            return node[:at] + [node[at]] * rng.choice((2, 3, 300)) + node[at:]
        return [*node[:at], _mutate_node(rng, node[at]), *node[at + 1 :]]
    return rng.choice(VALUES)


def mutate_journal(rng: random.Random, data: bytes) -> bytes:
    """A line with another content and the right checksum, or one more, fewer or elsewhere."""
    from napari_latentseg.annotations.journal import with_checksum, without_checksum

    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    body = without_checksum(lines[at].rstrip(b"\n"))
    if body is None or rng.random() < 0.2:
        return b"".join(
            rng.choice((lines[:at] + lines[at + 1 :], lines[:at] + lines[at:][::-1], [*lines, lines[at]]))
        )
    number = body.pop("line", at + 1)
    mutated = json.loads(mutate_json(rng, json.dumps(body).encode()) if rng.random() < 0.9 else b"{}")
    if not isinstance(mutated, dict):
        return mutate_bytes(rng, data)
    lines[at] = (with_checksum({"line": number, **mutated}) + "\n").encode()
    return b"".join(lines)


def mutate_dicom(rng: random.Random, data: bytes) -> bytes:
    """Another value of one element, also in the sequences."""
    import warnings

    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(data))
        owner, element = rng.choice(list(_elements(ds)) if rng.random() < 0.5 else [(ds, e) for e in ds])
        try:
            if rng.random() < 0.15:
                del owner[element.tag]
            elif element.VR in ("US", "UL", "SS", "SL"):
                element.value = rng.choice((0, 1, 7, 8, 16, 255, 65535))
            elif element.VR in ("IS", "DS"):
                element.value = rng.choice(("", "0", "-1", "1000000000", "2147483647", "1e9", ["1", "2"]))
            elif element.VR == "SQ":
                element.value = rng.choice(([], list(element.value) * 3, list(element.value)[:1]))
            elif isinstance(element.value, bytes):
                element.value = mutate_bytes(rng, element.value)
            else:
                element.value = rng.choice(("", "x" * 60, "1.2.840.10008.1.2.5", "RGB", "PALETTE COLOR", "ü"))
            written = io.BytesIO()
            ds.save_as(written)
        except Exception:  # pydicom does not write every value
            return mutate_bytes(rng, data)
    return written.getvalue()


def _elements(ds: Any) -> Iterator[tuple[Any, Any]]:
    """Each element with the data set that holds it, those in sequences too."""
    for element in ds:
        yield ds, element
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)


def mutate_gzip(rng: random.Random, data: bytes) -> bytes:
    """Damage inside the compression, whose checksum then is right."""
    return gzip.compress(mutate_bytes(rng, gzip.decompress(data)), mtime=0)


def mutate_zip(rng: random.Random, data: bytes) -> bytes:
    """Damage in a member; of a model the hash in the card is made right again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = rng.choice(list(members))
    members[name] = mutate_file(rng, Path(name), members[name])
    members = _seal(members, name, rng)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for member, content in members.items():
            if member == name and rng.random() < 0.1:
                member = rng.choice(
                    ("", "../x", "/x", "a/", member + "\x00", "CON", "a\\b", "ellipses/" + "a" * 300)
                )
            archive.writestr(zipfile.ZipInfo(member), content)
    return written.getvalue()


def _seal(members: dict[str, bytes], changed: str, rng: random.Random) -> dict[str, bytes]:
    """Put the hash of a changed file into the card beside it, most times."""
    card_name = next((name for name in members if name.endswith("card.json")), None)
    if card_name is None or changed == card_name or rng.random() < 0.1:
        return members
    card = json.loads(members[card_name])
    card["files"][Path(changed).name] = hashlib.sha256(members[changed]).hexdigest()
    return {**members, card_name: json.dumps(card).encode()}


_STRUCTURED: dict[str, Callable[[random.Random, bytes], bytes]] = {
    ".json": mutate_json, ".zattrs": mutate_json, ".zarray": mutate_json, ".zgroup": mutate_json,
    ".jsonl": mutate_journal, ".dcm": mutate_dicom, ".gz": mutate_gzip, ".mgz": mutate_gzip,
    ".zip": mutate_zip,
}  # fmt: skip


def mutate_file(rng: random.Random, path: Path, data: bytes) -> bytes:
    """The content of a file, damaged: by its structure in half of the cases, else as bytes."""
    structured = _STRUCTURED.get(path.suffix or path.name)
    if structured is None or rng.random() < 0.45:
        return mutate_bytes(rng, data)
    try:
        return structured(rng, data)
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, RecursionError, KeyError):
        return mutate_bytes(rng, data)


def mutate_folder(rng: random.Random, folder: Path) -> str:
    """Damage one file of a folder in place; gives its name."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
    path = rng.choice(files)
    if len(files) > 1 and rng.random() < 0.03:
        path.unlink()
        return f"{path.relative_to(folder)} removed"
    path.write_bytes(mutate_file(rng, path, path.read_bytes()))
    card = folder / "card.json"
    if card.is_file() and path != card:
        members = _seal({p.name: p.read_bytes() for p in (card, path)}, path.name, rng)
        card.write_bytes(members["card.json"])
    record = next(folder.glob("*_run.json"), None)
    if record is not None and path != record and rng.random() < 0.7:
        _seal_result(record, path)
    return str(path.relative_to(folder))


def _seal_result(record: Path, path: Path) -> None:
    """Put the hash of a changed file into the record of the result."""
    content = json.loads(record.read_bytes())
    stem = record.name.removesuffix("run.json")
    for name in content.get("files") or {}:
        if path.name.removeprefix(stem).startswith(name):
            content["files"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    record.write_text(json.dumps(content))

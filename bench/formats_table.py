"""The tables in docs/formats.md of what happens to every file that pydicom and nibabel ship.

python bench/formats_table.py [--write docs/formats.md]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
from nibabel.testing import data_path

from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.dicom import reader
from napari_latentseg.io.dicom.files import silence_dicom_loggers

ROOT = Path(pydicom.__file__).parent / "data" / "test_files"
BEGIN_NIBABEL = "<!-- bench/formats_table.py nibabel: begin -->"
BEGIN, END = "<!-- bench/formats_table.py: begin -->", "<!-- end -->"


def syntax_of(file: Path) -> str:
    with silence_dicom_loggers():
        meta = getattr(pydicom.dcmread(file, force=True, stop_before_pixels=True), "file_meta", None)
    named = meta.get("TransferSyntaxUID") if meta is not None else None
    return named.name.split(",")[0] if named else "-"


def outcome(file: Path, read: Callable[[Path], Scan] = reader.read) -> str:
    try:
        scan = read(file)
        np.asarray(scan.array)
    except BadInput as error:
        return f"refused: {error.why}"
    shape = "×".join(map(str, scan.array.shape))
    sizes = ", ".join(f"{s:.4g} {u}" for s, u in zip(scan.geometry.spacing, scan.geometry.units, strict=True))
    place = "in the patient" if scan.geometry.frame else "in its own frame"
    return f"`{scan.axes}` {shape} {scan.array.dtype}; {sizes}; {place}"


def rows() -> Iterator[tuple[str, str, str]]:
    many: dict[tuple[str, str, str], int] = {}
    for file in sorted(p for p in ROOT.rglob("*") if p.is_file() and p.suffix != ".icc"):
        name = file.relative_to(ROOT)
        what = f"{name.parent}/*" if "TINY_ALPHA" in name.parts and len(name.parts) > 3 else str(name)
        row = (what, syntax_of(file), outcome(file))
        many[row] = many.get(row, 0) + 1
    for (what, syntax, told), count in many.items():
        yield what + (f" ({count} files)" if count > 1 else ""), syntax, told


def nibabel_rows() -> Iterator[tuple[str, str]]:
    unknown = 0
    for file in sorted(p for p in Path(data_path).iterdir() if p.is_file()):
        told = outcome(file, read_scan)
        if "is not read" in told:
            unknown += 1
        else:
            yield file.name, told
    yield f"{unknown} others", "refused: this kind of file is not read (AFNI, MINC, PAR/REC, tracks, text)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="the document whose table is updated")
    options = parser.parse_args()
    lines = ["| file | stored as | read as |", "|---|---|---|"]
    lines += [f"| {what} | {syntax} | {told} |" for what, syntax, told in rows()]
    read = sum("refused" not in line for line in lines[2:])
    lines += ["", f"{len(lines) - 2} rows, {read} read, {len(lines) - 2 - read} refused."]
    theirs = ["| file | read as |", "|---|---|", *(f"| {name} | {told} |" for name, told in nibabel_rows())]
    if options.write is None:
        print("\n".join([*lines, "", *theirs]))
        return
    text = options.write.read_text("utf-8")
    for begin, table in ((BEGIN, lines), (BEGIN_NIBABEL, theirs)):
        before, rest = text.split(begin)
        after = rest.split(END, 1)[1]
        text = "\n".join([before + begin, *table, END]) + after
    options.write.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

"""The test files of pydicom, nibabel and tifffile, read in four ways and compared with other libraries.

    python bench/corpora.py FOLDER [FOLDER ...] [--write docs/formats.md]

A folder is searched at any depth; those of the installed packages are always among them. pydicom-data, and
the tests in the source archives of nibabel and tifffile, come from the package index; unpack them and give
their folders. Every file is read in a process of its own, with limits of time and memory, by `read_scan`,
`info`, `convert` and the reader of the window. The four must give the same answer, and a file that is read
the values and the place that SimpleITK, nibabel, pydicom, tifffile or Pillow give.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import resource
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, MEMORY_BYTES = 300, 6 * 2**30  # the imports take 2 GB of address space
CONTEXT = multiprocessing.get_context("fork")
IGNORED_SUFFIXES = {".py", ".pyc", ".pyi", ".md", ".rst", ".toml", ".cfg", ".icc", ".css", ".m", ".typed"}
BEGIN, END = "<!-- bench/corpora.py: begin -->", "<!-- end -->"
PLACE_MM = 1e-3
LOSSY_LEVELS = 5  # decoders of lossy JPEG round and enlarge colours that are stored smaller in their own ways
LOSSY_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")

# --- one file, in a process of its own ------------------------------------------------------------


def answer_of(read: Callable[[], str]) -> str:
    """``"read"`` with what was read, or ``"refused"`` with the line; a traceback is an answer of its own."""
    from napari_latentseg.errors import BadInput

    try:
        return read()
    except BadInput as error:
        return f"refused: {error.why}"
    except SystemExit as error:
        return f"exit {error.code}"
    except BaseException as error:  # what a person would see as a traceback
        return f"traceback {type(error).__name__}: {error}"


def by_read_scan(path: Path) -> str:
    from napari_latentseg.io import read_scan

    scan = read_scan(path)
    return f"read {scan.axes} {np.asarray(scan.array).shape}"


def by_window(path: Path) -> str:
    from napari_latentseg.widgets.opening.layer_data import layers_of_scan, survey_path

    survey = survey_path(path)
    scan = survey.read(None)
    layers_of_scan(scan, survey.name)
    return f"read {scan.axes} {np.asarray(scan.array).shape}"


def by_command(arguments: list[str]) -> str:
    """What a command answers: its first line of error, or ``"read"``."""
    from napari_latentseg.cli import main as command

    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = command(arguments)
    lines = [line for line in errors.getvalue().splitlines() if line.startswith("error: ")]
    return f"refused: {lines[0]}" if lines else "read" if not code else f"exit {code}"


def examine(path: Path) -> dict[str, str]:
    """The four answers, and how values and places compare with another library."""
    warnings.simplefilter("ignore")
    answers = {"read_scan": answer_of(lambda: by_read_scan(path))}
    answers["window"] = answer_of(lambda: by_window(path))
    with tempfile.TemporaryDirectory() as folder:
        answers["info"] = answer_of(lambda: by_command(["info", str(path)]))
        target = str(Path(folder) / "out.nrrd")
        answers["convert"] = answer_of(lambda: by_command(["convert", str(path), target]))
    answers["second"] = second_opinion(path) if answers["read_scan"].startswith("read") else ""
    return answers


# --- second opinions ------------------------------------------------------------------------------


def second_opinion(path: Path) -> str:
    """``"equal"``, ``"differs: ..."``, or ``"none"`` where no other library reads the file."""
    from napari_latentseg.io import read_scan

    scan = read_scan(path)
    if any("mosaic" in note for note in scan.notes):
        return "none"  # no library here splits them; dcm2niix does
    values = np.squeeze(np.asarray(scan.array))
    opinions = {
        "dicom": (of_pydicom, of_simpleitk), "nifti": (of_nibabel,), "mgh": (of_nibabel,),
        "analyze": (of_nibabel,), "tiff": (of_tifffile,), "photo": (of_pillow,),
    }.get(scan.format, (of_simpleitk,))  # fmt: skip
    verdicts = []
    for opinion in opinions:
        try:
            other, corner = opinion(path)
        except Exception:  # a library that does not read the file has no opinion
            continue
        orders = [other, other[::-1]] if opinion is of_pydicom and np.squeeze(other).ndim == 3 else [other]
        levels = LOSSY_LEVELS if is_lossy(path) else 0
        verdicts += [compare(scan, values, np.squeeze(order), corner, levels) for order in orders]
    if "equal" in verdicts:
        return "equal"
    return verdicts[0] if verdicts else "none"


def is_lossy(path: Path) -> bool:
    """Whether a file is DICOM in lossy JPEG, which two decoders read with different rounding."""
    import pydicom

    try:
        return (
            str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID) in LOSSY_SYNTAXES
        )
    except Exception:  # no DICOM, or without a syntax
        return False


def compare(scan: Any, values: Any, other: Any, corner: Any, levels: int) -> str:
    """Values to rounding and to so many levels, and the place of the first and last voxel."""
    if values.shape != other.shape:
        return f"differs: shape {values.shape} and {other.shape}"
    gap = np.abs(values.astype(np.float64) - other.astype(np.float64)).max(initial=0)
    rounding = float(np.abs(other).max(initial=0)) * 1e-6 if scan.array.dtype.kind == "f" else 0
    if gap > max(levels, rounding):
        return f"differs: values by {gap:g}"
    if corner is not None and "pixel" not in scan.geometry.units and len(scan.spatial_axes) >= 3:
        last = [*(n - 1 for n in scan.spatial_shape[-3:]), 1]
        matrix = scan.geometry.matrix[-4:, -4:]
        ours = np.array([(matrix @ [0, 0, 0, 1])[2::-1], (matrix @ last)[2::-1]])
        here = np.abs(ours - corner).max()
        if here > PLACE_MM:
            return f"differs: place by {here:g} mm"
    return "equal"


def of_pydicom(path: Path) -> tuple[Any, None]:
    """In the order of the file: pydicom knows no places, so slices may run the other way."""
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    ds = pydicom.dcmread(path, force=True)
    array = ds.pixel_array
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(array, ds)[..., :3]
        return (colours >> 8 if colours.dtype.itemsize > 1 else colours), None
    if ds.PhotometricInterpretation == "MONOCHROME1":
        array = (2**ds.BitsStored - 1) - array.astype(np.int64)
    if "DoseGridScaling" in ds:
        return array * float(ds.DoseGridScaling), None
    groups = [
        *(ds.get("SharedFunctionalGroupsSequence") or []),
        *(ds.get("PerFrameFunctionalGroupsSequence") or []),
    ]
    for group in groups[:2]:  # in these files all frames have the same
        if transformation := group.get("PixelValueTransformationSequence"):
            array = array * float(transformation[0].RescaleSlope) + float(transformation[0].RescaleIntercept)
            break
    return apply_modality_lut(array, ds), None


def of_simpleitk(path: Path) -> tuple[Any, Any]:
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    last = [n - 1 for n in image.GetSize()]
    ends = [image.TransformIndexToPhysicalPoint(index) for index in ([0] * len(last), last)]
    return SimpleITK.GetArrayFromImage(image), np.array(ends) if len(last) == 3 else None


def of_nibabel(path: Path) -> tuple[Any, Any]:
    import nibabel

    image: Any = nibabel.load(path)
    array = np.asarray(image.dataobj)
    if array.dtype.fields:
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
        return array.transpose(*reversed(range(array.ndim - 1)), array.ndim - 1), None
    last = [*(n - 1 for n in (*array.shape, 1, 1)[:3]), 1]
    ends = np.array([(image.affine @ index)[:3] for index in ([0, 0, 0, 1], last)]) * (-1, -1, 1)
    return array.transpose(), ends if array.ndim >= 3 else None


def of_tifffile(path: Path) -> tuple[Any, None]:
    import tifffile

    return tifffile.imread(path), None


def of_pillow(path: Path) -> tuple[Any, None]:
    from PIL import Image

    return np.asarray(Image.open(path)), None


# --- all files ------------------------------------------------------------------------------------


def installed_folders() -> dict[str, Path]:
    import pydicom
    from nibabel.testing import data_path

    return {"pydicom": Path(pydicom.__file__).parent / "data" / "test_files", "nibabel": Path(data_path)}


def import_all() -> None:
    """Import what the children need, once."""
    import SimpleITK  # noqa: F401
    import tifffile  # noqa: F401
    from PIL import Image  # noqa: F401

    import napari_latentseg.io.dicom.reader
    import napari_latentseg.widgets.opening.layer_data  # noqa: F401
    from napari_latentseg.cli import main as command  # noqa: F401


def run(path: Path) -> dict[str, str]:
    """What `examine` answers in a child, which inherits the imports of this process."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=_examine_in_child, args=(path, sender))
    child.start()
    sender.close()
    try:
        if not receiver.poll(SECONDS):
            return {"read_scan": f"no answer in {SECONDS} s"}
        answers: dict[str, str] = receiver.recv()
        return answers
    except EOFError:
        return {"read_scan": "the process died"}
    finally:
        child.kill()
        child.join()


def _examine_in_child(path: Path, sender: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with Path(os.devnull).open("w") as nowhere:  # the libraries' own warnings
        os.dup2(nowhere.fileno(), 2)
        sender.send(examine(path))


def outcome(answers: dict[str, str]) -> str:
    """One word for a file: what the four answers have in common."""
    four = [answers.get(name, "") for name in ("read_scan", "info", "convert", "window")]
    if any(answer.startswith(("traceback", "no answer", "the process")) for answer in four):
        return "traceback"
    reads = [answer.startswith("read") for answer in four]
    # a geometry or values that NRRD cannot hold is no other answer about the file that was read
    if not (all(reads) or not any(reads) or (reads == [True, True, False, True])):
        return "not the same"
    if not reads[0]:
        return "refused"
    return {"equal": "equal", "none": "no second library"}.get(answers["second"], "differs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--write", type=Path, help="the document whose table is updated")
    options = parser.parse_args()
    import_all()
    rows = []
    for name, folder in (installed_folders() | {folder.name: folder for folder in options.folders}).items():
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in IGNORED_SUFFIXES)
        counts: Counter[str] = Counter()
        for file in files:
            answers = run(file)
            word = outcome(answers)
            counts[word] += 1
            if word not in ("equal", "refused"):
                print(word, file.relative_to(folder), json.dumps(answers), flush=True)
        words = ("equal", "no second library", "differs", "refused", "not the same", "traceback")
        rows.append([name, len(files), *(counts[word] for word in words)])
        print(rows[-1], flush=True)
    lines = [
        "| files | all | read, equal to a second library | read, no second library | read, differs | refused "
        "| four answers not the same | traceback |",
        "|---|---|---|---|---|---|---|---|",
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
    ]
    if options.write is None:
        print("\n".join(lines))
        return
    text = options.write.read_text("utf-8")
    before, rest = text.split(BEGIN)
    options.write.write_text("\n".join([before + BEGIN, *lines, END]) + rest.split(END, 1)[1], "utf-8")


if __name__ == "__main__":
    main()

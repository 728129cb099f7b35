"""Reading a case in a worker: its image, its result or mask, and the mask of the first reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg import api
from napari_latentseg.batches.case_rows import CaseRow
from napari_latentseg.caselist.case_list import CaseList
from napari_latentseg.caselist.listed_case import ListedCase
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.record import RunRecord
from napari_latentseg.data.cases import Case
from napari_latentseg.errors import BadInput
from napari_latentseg.io.result_names import RECORD_NAME
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.waited_thread import waited_thread
from napari_latentseg.widgets.batch.open_result import SavedCase, label_map_of, read_case, read_image
from napari_latentseg.widgets.opening.layer_data import LayerData, layers_of_scan

__all__ = [
    "ReadAhead", "ReadCase", "case_to_read_ahead", "compare_in_words", "read_held_case", "read_listed_case",
    "row_of",
]  # fmt: skip


@dataclass(frozen=True)
class ReadCase:
    """The files of a case, read.

    Attributes
    ----------
    name
        Of the case.
    layers
        The layers of its image.
    axes, geometry
        Of its mask, in the order of the layers.
    sha256
        Of the values of its image.
    saved
        Its result with the record of its run; None without one.
    mask, classes
        Its mask where there is no such result; the classes where a record names them.
    start_mask
        The mask from which the reader goes on where that is not the model's: the own earlier one, or that of
        the first reader of an open second reading; None elsewhere.
    first_mask
        What the first reader has approved, where it may be shown; None elsewhere.
    first_reader
        Who that was.
    is_changed
        Whether the values of the image are not those that were read before.
    """

    name: str
    layers: list[LayerData]
    axes: str
    geometry: Geometry
    sha256: str
    saved: SavedCase | None = None
    mask: NDArray[Any] | None = None
    classes: tuple[ClassInfo, ...] = ()
    start_mask: NDArray[Any] | None = None
    first_mask: NDArray[Any] | None = None
    first_reader: str = ""
    is_changed: bool = False


def row_of(case: ListedCase) -> CaseRow:
    """The row by which the window of batches opens a case."""
    return CaseRow(
        case.name,
        "" if case.path is None else str(case.path),
        "" if case.series is None else str(case.series),
        result="" if case.result is None else str(case.result),
        doubtful_slice=case.doubtful_slice,
    )


def read_listed_case(cases: CaseList, case: ListedCase, reader: str) -> ReadCase:
    """Read the files of a case; best called in a worker.

    Parameters
    ----------
    cases
        Its list.
    case
        As it is now.
    reader
        Who is to see it: of a blind second reading, nothing of the first reader.

    Raises
    ------
    BadInput
        If a file is missing, or cannot be read.
    """
    if case.path is None:
        why = "the table of a de-identified batch has no paths"
        raise BadInput(case.name, why, "give the folder of the images as the list, and this one as Results")
    own, first = _readings(cases, case, reader)
    if case.result is not None and case.result.name.endswith(RECORD_NAME):
        saved = read_case(row_of(case))
        segmentation = saved.segmentation
        start, start_path = None, own or first
        if start_path is not None:
            start = _labels(case, segmentation.mask.shape, start_path)
            if np.array_equal(start, segmentation.mask):  # the model's need no copy
                start = None
        return ReadCase(
            case.name, saved.layers, segmentation.axes, segmentation.geometry,
            segmentation.record.input.sha256, saved=saved, start_mask=start, first_reader=case.first_reader,
            first_mask=None if first is None else _labels(case, segmentation.mask.shape, first),
        )  # fmt: skip
    assert case.path is not None  # looked at first
    scan = read_image(row_of(case))
    classes: tuple[ClassInfo, ...] = ()
    mask_path = case.mask
    if case.result is not None:
        mask_path, classes = label_map_of(case.result), _classes_of(case.result)
    shown = own or first or mask_path
    sha256 = scan.content_sha256
    return ReadCase(
        case.name, layers_of_scan(scan, case.name), scan.spatial_axes, scan.geometry, sha256,
        mask=None if shown is None else _labels(case, scan.spatial_shape, shown), classes=classes,
        first_mask=None if first is None else _labels(case, scan.spatial_shape, first),
        first_reader=case.first_reader, is_changed=cases.image_sha256(case.name) not in ("", sha256),
    )  # fmt: skip


def _readings(cases: CaseList, case: ListedCase, reader: str) -> tuple[Path | None, Path | None]:
    """The masks that a reader may see: the own one, and the first one of an open second reading."""
    if not case.readings:
        return None, None
    paths = cases.reading_paths(case.name)
    is_second = case.state == "second reading" and not case.is_blind and case.first_reader != reader
    return paths.get(reader), paths[case.first_reader] if is_second else None


def _labels(case: ListedCase, shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    """The labels of a mask, index on index with the image.

    Raises
    ------
    BadInput
        If they have another shape.
    """
    assert case.path is not None  # looked at first
    labels = Case.from_files(case.name, case.path, path).read_mask()
    if labels.size != np.prod(shape) or labels.shape[-2:] != tuple(shape[-2:]):
        why = f"has shape {labels.shape}, and its image {shape}"
        raise BadInput(path.name, why, "give the mask of this image")
    return labels.reshape(shape).astype(np.uint8 if labels.max(initial=0) <= 255 else np.int32)


def _classes_of(result: Path) -> tuple[ClassInfo, ...]:
    """The classes that the record of another layout names."""
    content = load_json(result.read_text("utf-8"))
    return RunRecord.model_validate(content.get("RunRecord", content)).classes


def case_to_read_ahead(rows: Iterable[ListedCase], names: Sequence[str], reader: str) -> ListedCase | None:
    """The first of some cases that a reader may decide on, as far as is known; None where there is none.

    Parameters
    ----------
    rows
        All cases of the list.
    names
        Of the cases, in the order in which they will be opened.
    reader
        Who.
    """
    by_name = {row.name: row for row in rows}
    for name in names:
        row = by_name.get(name)
        if row is None or row.is_decided or row.problem:
            continue
        if row.state != "second reading" or row.first_reader != reader:
            return row
    return None


def compare_in_words(cases: CaseList, name: str) -> str:
    """What changed between the readings of a case, in one line; best called in a worker.

    Raises
    ------
    BadInput
        If there are not two readings, or one of them cannot be read.
    """
    pairs = api.compare_readings(cases.source, name, cases.results).pairs
    lines = [f"{pair.first} and {pair.second}, {pair.name}: Dice {pair.dsc:.3f}" for pair in pairs]
    return f"{name}: {'; '.join(lines)}."


class ReadAhead:
    """The files of the case that is likely to be opened next, read in a thread of their own.

    Parameters
    ----------
    cases, case, reader
        As for `read_listed_case`.
    """

    def __init__(self, cases: CaseList, case: ListedCase, reader: str) -> None:
        self._case, self._reader = case, reader
        self._read: ReadCase | None = None
        self._error: BaseException | None = None

        def read() -> None:
            try:
                self._read = read_listed_case(cases, case, reader)
            except BaseException as error:  # told where the case is opened; a panic of Rust is no Exception
                self._error = error

        self._thread = waited_thread(read, "latentseg-case-ahead")
        self._thread.start()

    def fits(self, case: ListedCase, reader: str) -> bool:
        """Whether this is what would be read of a case now."""
        before, now = self._case, case
        return self._reader == reader and (
            (before.name, before.readings, before.result, before.mask, before.is_blind)
            == (now.name, now.readings, now.result, now.mask, now.is_blind)
            and (before.state == "second reading") == (now.state == "second reading")
        )

    def wait(self) -> ReadCase:
        """The files, once they are read; waits for them, so it is called in a worker.

        Raises
        ------
        BadInput
            As `read_listed_case`.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._read is not None
        return self._read


def read_held_case(cases: CaseList, case: ListedCase, reader: str, ahead: ReadAhead | None) -> ReadCase:
    """Read a case that the reader holds, or wait until it is read; one that cannot be read is let go."""
    try:
        if ahead is not None and ahead.fits(case, reader):
            return ahead.wait()
        return read_listed_case(cases, case, reader)
    except BaseException:
        cases.release(case.name, reader)
        raise

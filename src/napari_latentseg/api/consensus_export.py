"""The consensus of the readers of each case of a list, written as masks with their records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput, Cancelled, choose_from
from napari_latentseg.utils.argument_types import as_path
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.caselist.case_list import CaseList
    from napari_latentseg.caselist.listed_case import ListedCase
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.evaluation.consensus import Consensus, ConsensusMethod

__all__ = ["ExportedConsensus", "export_consensus"]

_MASK_NAME, _RECORD_NAME = "consensus", "consensus.json"
_FEWEST_READERS = 2


@dataclass(frozen=True)
class ExportedConsensus:
    """The outcome for a case whose consensus was asked for.

    Attributes
    ----------
    case
        Its name.
    mask, record
        The files; None where it has no consensus.
    readers
        How many masks it is made of.
    problem
        Why it has none; empty where it was written.
    notes
        What the format cannot hold.

    Examples
    --------
    >>> from napari_latentseg import ExportedConsensus
    >>> ExportedConsensus("case-7", problem="has 1 of 2 readings").mask is None
    True
    """

    case: str
    mask: Path | None = None
    record: Path | None = None
    readers: int = 0
    problem: str = ""
    notes: tuple[str, ...] = ()


def export_consensus(
    source: str | Path,
    out: str | Path,
    *,
    results: str | Path | None = None,
    method: str = "majority",
    cases: Sequence[str] | None = None,
    format: str | None = None,
    name_readers: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> list[ExportedConsensus]:
    """Write the consensus of the readers of each case that two or more have approved a mask of.

    Parameters
    ----------
    source, results
        The list, as for `list_cases`.
    out
        A folder; it gets ``CASE_consensus`` with the suffix of the format, and ``CASE_consensus.json``, which
        says by which method it was made, of how many masks, and their hashes.
    method
        ``"majority"`` (strictly more than half of the readers) or ``"staple"``, which needs SimpleITK.
    cases
        Names of cases; all that are approved and have two readings or more where not given.
    format
        As for `write_result`; None for NIfTI, or OME-TIFF where the image has no physical size.
    name_readers
        Whether the record names the readers. It has no name of a file or patient in either case.
    overwrite
        Replace files that already exist.
    progress
        Called with the fraction done, in [0, 1]; what it raises, such as `Cancelled`, ends the export. What
        was written before stays.

    Returns
    -------
    list of ExportedConsensus
        One for each case, in the order of their names. A case whose masks are gone or do not lie on each
        other has its problem here, and the others are written.

    Raises
    ------
    BadInput
        If there is no such list or case, no case has two readings, an argument is not possible, or the folder
        cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from napari_latentseg import CaseList, Geometry, Scan, export_consensus
    >>> from PIL import Image
    >>> Path("scans").mkdir()
    >>> Image.fromarray(np.zeros((20, 20), np.uint8)).save("scans/case-1.png")
    >>> geometry = Geometry.from_spacing("yx", (0.5, 0.5), "mm")
    >>> with CaseList("scans") as cases:
    ...     for reader, width in (("Anna", 10), ("Ben", 9)):
    ...         mask = np.zeros((20, 20), np.uint8)
    ...         mask[5:15, 5 : 5 + width] = 1
    ...         case = cases.decide("case-1", reader, "approve", mask=Scan(mask, "yx", geometry))
    >>> (written,) = export_consensus("scans", "agreed")
    >>> written.mask.name, written.record.name, written.readers
    ('case-1_consensus.nii.gz', 'case-1_consensus.json', 2)
    """
    from napari_latentseg.caselist.case_list import CaseList
    from napari_latentseg.evaluation.consensus import check_method
    from napari_latentseg.io.result_format import check_format
    from napari_latentseg.utils.atomic import check_writable_folder, ensure_writable_folder

    chosen = check_method(method)
    check_format(format)
    folder = as_path("out", out)
    listed = CaseList(as_path("source", source), None if results is None else as_path("results", results))
    _check_not_among_images(folder, listed)
    check_writable_folder(folder)
    rows = _asked_for(listed, cases)
    ensure_writable_folder(folder)
    written = []
    for number, row in enumerate(rows):
        progress(number / len(rows))
        try:
            problem = _problem(row)
            if problem:
                raise BadInput(row.name, problem, "")
            written.append(
                _export(listed, row, folder, chosen, format, name_readers=name_readers, overwrite=overwrite)
            )
        except Cancelled:
            raise
        except BadInput as error:
            text = f"{error.why}; {error.remedy}" if error.remedy else error.why
            about = "" if error.what == row.name else f"{error.what} "
            written.append(ExportedConsensus(row.name, problem=f"{about}{text}"))
    progress(1.0)
    return written


def _check_not_among_images(folder: Path, listed: CaseList) -> None:
    """Masks among the images would be cases of the list from then on."""
    images = listed.source if listed.source.is_dir() else listed.source.parent
    inside = images.absolute() in (folder.absolute(), *folder.absolute().parents)
    if inside and listed.source.is_dir():
        raise BadInput(folder, "lies in the folder of the list", "give a folder beside it")


def _asked_for(listed: CaseList, names: Sequence[str] | None) -> list[ListedCase]:
    rows = sorted(listed.rows(), key=lambda row: row.name)
    if names is not None:
        known = {row.name: row for row in rows}
        for name in names:
            if name not in known:
                raise BadInput("case", f"there is none named {name!r}", choose_from(name, list(known)))
        return [known[name] for name in dict.fromkeys(names)]
    rows = [row for row in rows if row.state == "approved" and len(row.readings) >= _FEWEST_READERS]
    if not rows:
        raise BadInput(
            listed.source, "has no case that two readers have approved", "ask for second readings first"
        )
    return rows


def _problem(row: ListedCase) -> str:
    """Why a case has no consensus; empty if it can have one."""
    if len(row.readings) < _FEWEST_READERS:
        return f"has {len(row.readings)} of {_FEWEST_READERS} readings"
    if row.state != "approved":
        return f"is not approved ({row.state})"
    return row.problem


def _export(
    listed: CaseList,
    row: ListedCase,
    folder: Path,
    method: ConsensusMethod,
    format: str | None,
    *,
    name_readers: bool,
    overwrite: bool,
) -> ExportedConsensus:
    from napari_latentseg.api.readers import consensus
    from napari_latentseg.caselist.decisions import case_key
    from napari_latentseg.caselist.results import classes_of_result
    from napari_latentseg.io.result_names import DICOM_FORMATS, RESULT_SUFFIXES, name_prefix
    from napari_latentseg.utils.atomic import atomic_path

    paths = listed.reading_paths(row.name)
    agreed = consensus(dict(paths), method, classes=classes_of_result(row.result))
    first = next(iter(paths.values()))
    own_suffix = next(suffix for suffix in RESULT_SUFFIXES.values() if first.name.endswith(suffix))
    is_dicom = format in DICOM_FORMATS
    suffix = own_suffix if format is None else ".dcm" if is_dicom else RESULT_SUFFIXES[format]
    prefix = name_prefix(row.name)
    mask, record = folder / f"{prefix}{_MASK_NAME}{suffix}", folder / f"{prefix}{_RECORD_NAME}"
    for path in (mask, record):
        if path.exists() and not overwrite:
            raise BadInput(path.name, "already exists", "choose another folder, or --overwrite")
    notes = _write(row, agreed, mask, format)
    content = _record(agreed, row, mask, name_readers=name_readers)
    content |= {"case": case_key(row.name), "image_sha256": listed.image_sha256(row.name)}
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return ExportedConsensus(row.name, mask, record, len(paths), notes=notes)


def _write(row: ListedCase, agreed: Consensus, path: Path, format: str | None) -> tuple[str, ...]:
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.io.convert import write_scan
    from napari_latentseg.io.result_names import DICOM_FORMATS

    if format not in DICOM_FORMATS:
        return write_scan(Scan(agreed.labels, "".join(agreed.geometry.axis_labels), agreed.geometry), path)
    from napari_latentseg.core.drawn_mask import drawn_mask
    from napari_latentseg.evaluation.label_maps import placed_on
    from napari_latentseg.io.dicom.seg import write_dicom_mask

    image = _image_of(row)
    if image.format != "dicom":
        raise BadInput(row.name, "is not a DICOM series", "choose another format")
    labels = placed_on(
        "the consensus", agreed.labels, agreed.geometry, image.geometry, image.spatial_shape,
        target_name="the image", remedy="choose another format",
    )  # fmt: skip
    write_dicom_mask(drawn_mask(image, labels, agreed.classes, plugin_version=_plugin_version()), path)
    return ()


def _image_of(row: ListedCase) -> Scan:
    from napari_latentseg.batches.case import BatchCase
    from napari_latentseg.batches.case_input import CaseInput

    if row.path is None:
        raise BadInput(row.name, "has no path in the table of a de-identified batch", "give --results")
    return CaseInput(BatchCase(row.name, row.path, row.series)).read()


def _plugin_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-latentseg")
    except PackageNotFoundError:
        return ""


def _record(agreed: Consensus, row: ListedCase, mask: Path, *, name_readers: bool) -> dict[str, Any]:
    """What a consensus was made of; readers are numbered unless their names were asked for."""
    from napari_latentseg.annotations.records import utc_now
    from napari_latentseg.evaluation.consensus import CONSENSUS_CONVENTIONS
    from napari_latentseg.io.file_hashes import path_sha256

    numbers = {reading.reader: f"reader {number}" for number, reading in enumerate(row.readings, 1)}

    def shown(reader: str) -> str:
        return reader if name_readers else numbers[reader]

    return {
        "kind": "consensus",
        "plugin_version": _plugin_version(),
        "time": utc_now(),
        "method": agreed.method,
        "convention": CONSENSUS_CONVENTIONS[agreed.method],
        "classes": [{"name": info.name, "label": info.label} for info in agreed.classes],
        "readings": [{"reader": shown(r.reader), "sha256": r.sha256, "time": r.time} for r in row.readings],
        "performance": [{**asdict(p), "reader": shown(p.reader)} for p in agreed.performance],
        "mask_sha256": path_sha256(mask),
    }

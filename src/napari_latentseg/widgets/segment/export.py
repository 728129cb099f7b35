"""Export of a result to a folder, in a chosen format, off the GUI thread."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.case_codes import case_codes_of, remember_folder
from napari_latentseg.widgets._shared.closing import WatchedJob, WorkInProgress
from napari_latentseg.widgets._shared.plain_text import show_info
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception

if TYPE_CHECKING:
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["ExportCheck", "ExportSettings", "check_export", "default_name", "export_result"]


@dataclass(frozen=True)
class ExportSettings:
    """What is written, where, and under which name.

    Attributes
    ----------
    folder
        Created where it does not exist.
    name
        Start of the file names.
    is_code
        Whether the name is a case code, which record and report name, or the name of the image, which may be
        that of the patient.
    format
        See `napari_latentseg.io.write_results.write_segmentation`; None for the format of the image.
    agreement, doubt, contours, band, table, report
        Write how many samples agree at each voxel, how near the mean probability is to a half, the contours
        as GeoJSON, the contours between which the true edge lies, a table of measurements as CSV, and an HTML
        report.
    append_to
        A table of cases to which the classes are added.
    append_objects
        Add each object to it, too.
    deidentify
        Leave out metadata that could identify the patient.
    overwrite
        Replace what is there, also of another image.
    """

    folder: Path
    name: str
    is_code: bool = True
    format: str | None = None
    agreement: bool = False
    doubt: bool = False
    contours: bool = False
    band: bool = False
    table: bool = False
    report: bool = False
    append_to: Path | None = None
    append_objects: bool = False
    deidentify: bool = False
    overwrite: bool = False

    def arguments(self) -> dict[str, Any]:
        """The arguments that `api.write_result` and `check_result` have in common."""
        from napari_latentseg.io.result_names import name_prefix

        report = self.folder / f"{name_prefix(self.name)}report.html" if self.report else None
        return {
            "folder": self.folder, "stem": self.name, "case": self.name if self.is_code else "",
            "format": self.format, "agreement": self.agreement, "doubt": self.doubt,
            "contours": self.contours, "band": self.band,
            "table": self.table, "report": report, "append_to": self.append_to, "overwrite": self.overwrite,
        }  # fmt: skip


@dataclass(frozen=True)
class ExportCheck:
    """The obstacles to an export.

    Attributes
    ----------
    problem
        Why it is impossible, or what is in the way; empty where nothing is.
    can_replace
        Whether it is possible once the user allows to replace what is there.
    note
        What the user should know of an export that is possible.
    """

    problem: str = ""
    can_replace: bool = False
    note: str = ""


def check_export(result: Segmentation, settings: ExportSettings) -> ExportCheck:
    """Find the obstacles to an export. Reads files, so it is called in a worker."""
    from napari_latentseg.api.results import check_result
    from napari_latentseg.io.earlier_results import find_earlier_result
    from napari_latentseg.io.result_names import name_prefix

    record = result.record
    check = partial(
        check_result, result, classes=result.classes, input_sha256=lambda: record.input.sha256,
        is_box=record.box is not None,
    )  # fmt: skip
    arguments = settings.arguments()
    try:
        check(**arguments)
    except BadInput as error:
        try:
            check(**arguments | {"overwrite": True})
        except BadInput as fatal:
            return ExportCheck(f"{Path(fatal.what).name}: {fatal.why}. {_sentence(fatal.remedy)}")
        name = Path(error.what).name
        return ExportCheck(
            f"{name} {error.why}. Choose another name or folder, or tick Replace.", can_replace=True
        )
    if not settings.overwrite and settings.folder.is_dir():
        earlier = find_earlier_result(settings.folder, name_prefix(settings.name))
        if earlier.record is not None:
            return ExportCheck(
                note="An earlier result of this image is there under this name. It will be replaced."
            )
    return ExportCheck()


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def default_name(result: RunResult, *, deidentify: bool) -> tuple[str, bool]:
    """The name that an export gets unless the user types one, and whether it is a case code.

    The image's name may be the patient's, so it is used only where the export need not be de-identified.
    """
    if deidentify:
        return case_codes_of(result.layers.viewer).code_of(result.layers.image), True
    return _file_name(result.layers.image.name), False


def export_result(
    result: RunResult,
    folder: Path,
    *,
    settings: ExportSettings | None = None,
    own_mask: bool = False,
) -> ThreadWorker:
    """Write a result to a folder, off the GUI thread, with the mask that counts (`RunResult.shown_mask`).

    Parameters
    ----------
    result
        A finished result.
    folder
        Created where it does not exist.
    settings
        What is written; mask, mean, variance and record under the name of the image where not given.
    own_mask
        Write the model's own mask, although a person has corrected it.

    Returns
    -------
    ThreadWorker
        Returns the paths that were written.
    """
    segmentation = result.segmentation
    assert segmentation is not None
    if settings is None:
        name, is_code = default_name(result, deidentify=False)
        settings = ExportSettings(folder, name, is_code)
    if settings.is_code:
        case_codes_of(result.layers.viewer).set_code(result.layers.image, settings.name)
    shown = result.shown_mask()  # now: later strokes are not part of it
    scan, card = result.job.scan, result.card

    def write() -> list[Path]:
        from napari_latentseg import api

        arguments = settings.arguments()
        paths = api.write_result(
            segmentation if own_mask else shown.segmentation, **arguments, scan=scan, card=card,
            append_objects=settings.append_objects, deidentify=settings.deidentify,
        )  # fmt: skip
        remember_folder(folder)
        return paths

    kept = "This export may be lost; earlier exports are kept."
    work = WorkInProgress(f"“{result.layers.image.name}” is being exported.", kept)
    job = WatchedJob(result.layers.viewer, work)

    def done(paths: list[Path]) -> None:
        job.end()
        show_info(f"{count_text(len(paths), 'file')} written to {folder}")

    def fail(error: BaseException) -> None:
        job.end()
        show_exception(error)

    return run_in_thread(write, done, fail)


def _file_name(name: str) -> str:
    safe_name = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")
    return safe_name or "image"

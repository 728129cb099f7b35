"""Segment several files into one folder, with the model loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.chosen_model import check_without_prompts, locate_chosen_model
from napari_latentseg.api.images import open_image
from napari_latentseg.api.prompts import check_acquired, check_prompts, start_prompt_run
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import as_path

if TYPE_CHECKING:
    from napari_latentseg.core.hints import Hint
    from napari_latentseg.core.prompts import Prompts
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.inference.prompt_run import PromptRun
    from napari_latentseg.inference.run import Run
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["FileResult", "possible_outputs", "segment_files"]


@dataclass(frozen=True)
class FileResult:
    """The outcome for one file.

    Attributes
    ----------
    scan
        The file or folder.
    segmentation
        Its result; None where it failed, or was there already.
    written
        The files of the result.
    left_out
        What was asked for and could not be written, and why.
    error
        Why it failed; None where it did not.
    is_skipped
        Whether a complete result of the same image by the same model was there already.

    Examples
    --------
    >>> from napari_latentseg import FileResult
    >>> FileResult(Path("knee.nii.gz"), is_skipped=True).error is None
    True
    """

    scan: Path
    segmentation: Segmentation | None = None
    written: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()
    error: BadInput | None = None
    is_skipped: bool = False


def segment_files(
    scans: str | Path | Iterable[str | Path],
    model: Model | LocatedModel | str | Path,
    out: str | Path,
    settings: InferenceSettings | None = None,
    *,
    plane: str = "acquired",
    series: int | None = None,
    channel: int | None = None,
    spacing: float | Sequence[float] | None = None,
    codec: str | Path | None = None,
    case: str = "",
    skip_existing: bool = False,
    prompts: Prompts | None = None,
    through: bool = False,
    hints: Sequence[Hint] = (),
    on_start: Callable[[int, int], None] = lambda number, total: None,
    progress: Callable[[float], None] = lambda done: None,
    **outputs: Any,
) -> Iterator[FileResult]:
    """Segment files and write their results into one folder; one that fails does not stop the others.

    Parameters
    ----------
    scans
        Files, folders of DICOM, OME-Zarr or images, and addresses of series in an archive; or one of them.
    model
        A loaded model, or the name or folder of one. It is loaded once.
    out
        The folder of the results, which are called after the files.
    settings
        As for `start_run`.
    plane, series, channel, spacing, codec
        As for `segment`, for every file.
    case
        As for `write_result`; for a single file only.
    skip_existing
        Pass over files of which the folder has a complete result by this version of the model.
    prompts, through
        As for `segment`; for a single file only.
    hints
        Places that weight the samples, see `napari_latentseg.reweight`; for a single file only.
    on_start
        Called before each file with its number, from 1, and their count.
    progress
        Called with the fraction of the present file that is done, in [0, 1].
    **outputs
        Options of `write_result`: `format`, `agreement`, `doubt`, `contours`, `band`, `table`, `report` (for
        a single file only), `append_to`, `append_objects`, `deidentify` and `overwrite`.

    Returns
    -------
    iterator of FileResult
        One for each file, as soon as it is written or has failed; a file is segmented when it is asked for.

    Raises
    ------
    BadInput
        If there is no such model or file, two results would have the same name, or an argument is not
        possible. Nothing is segmented then.

    Examples
    --------
    >>> from napari_latentseg import segment_files
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> folder = write_annotated_phantoms("phantoms", 2, shape=(96, 128)) / "images"
    >>> [result.scan.name for result in segment_files(folder, "breast-ultrasound", "results")]
    ['phantom_0.png', 'phantom_1.png']
    """
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.io.dicomweb.address import is_archive_address
    from napari_latentseg.io.dicomweb.retrieve import local_copy
    from napari_latentseg.io.find_scans import check_different_stems, find_scans

    several = [scans] if isinstance(scans, str | Path) else scans
    found, _ = find_scans([as_path("scan", scan) for scan in several])
    if len(found) > 1:
        if prompts is not None:
            raise BadInput(
                "prompts", f"belong to one image, but {len(found)} are given", "give that image alone"
            )
        if hints:
            raise BadInput(
                "hints", f"belong to one image, but {len(found)} are given", "give that image alone"
            )
        if case or outputs.get("report") is not None:
            raise BadInput("case" if case else "report", f"is one for {len(found)} images", "leave it out")
        if not outputs.get("deidentify"):  # names come from the content there
            check_different_stems(scan for scan in found if not is_archive_address(scan))
    located = locate_chosen_model(model)
    settings = settings or InferenceSettings.for_model(located.card)
    if prompts is None:
        check_without_prompts(located.card)
        if through:
            raise BadInput(
                "through",
                "follows a structure that prompts point at, and no prompts are given",
                "give prompts",
            )
    else:
        check_prompts(located.card, prompts, settings)
        check_acquired(plane)
    job = _Job(
        located, as_path("out", out), settings, plane,
        {"channel": channel, "spacing": spacing}, codec, case, skip_existing, outputs, prompts, through,
        tuple(hints),
    )  # fmt: skip

    def results() -> Iterator[FileResult]:
        for number, scan in enumerate(found, 1):
            on_start(number, len(found))
            try:
                scan, chosen_series = local_copy(scan, series)
                yield job.run(scan, chosen_series, progress)
            except BadInput as error:
                yield FileResult(scan, error=error)
            except (MemoryError, OSError) as error:
                reason = getattr(error, "strerror", None) or "it does not fit into memory"
                yield FileResult(scan, error=BadInput(scan, f"could not be segmented ({reason})"))

    return results()


class _Job:
    """What is the same for every file: the model, which is loaded for the first of them, and the options."""

    def __init__(
        self,
        model: Model | LocatedModel,
        out: Path,
        settings: InferenceSettings,
        plane: str,
        image_options: dict[str, Any],
        codec: str | Path | None,
        case: str,
        skip_existing: bool,
        outputs: dict[str, Any],
        prompts: Prompts | None,
        through: bool,
        hints: tuple[Hint, ...],
    ) -> None:
        self.model = model
        self.card: ModelCard = model.card
        self.out = out
        self.settings = settings
        self.plane = plane
        self.image_options = image_options
        self.codec = codec
        self.case = case
        self.skip_existing = skip_existing
        self.outputs = outputs
        self.prompts, self.through, self.hints = prompts, through, hints

    def run(self, path: Path, series: int | None, progress: Callable[[float], None]) -> FileResult:
        """Segment one file, or one of the series in it.

        Raises
        ------
        BadInput
            If it cannot be read, or its result cannot be written.
        """
        from napari_latentseg.api.results import check_result, write_result
        from napari_latentseg.core.reweight import check_hints, reweight
        from napari_latentseg.io.registry import stem_of

        image = open_image(path, series=series, **self.image_options)
        box, options = self.settings.box, self.outputs
        # the name of a file or folder may be the patient's
        is_hidden = options.get("deidentify", False)
        stem = self.case or (f"scan-{_input_sha256(image, box)[:8]}" if is_hidden else stem_of(path))
        if self.skip_existing and self._has_result(image, stem):
            return FileResult(path, is_skipped=True)
        unchecked = ("deidentify", "append_objects")  # neither can be in the way of a result
        checked = {name: value for name, value in options.items() if name not in unchecked}
        check_result(
            image, self.out, stem, classes=self.card.classes, input_sha256=partial(_input_sha256, image, box),
            is_box=box is not None, **checked,
        )  # fmt: skip
        if self.hints:
            check_hints(self.hints, image.spatial_shape, image.spatial_axes, self.card.classes)
        run = self._start(image)
        self.model = run.model
        segmentation = run.finish(progress)
        if self.hints:
            segmentation = reweight(segmentation, self.hints)
        possible, left_out = possible_outputs(segmentation, self.card, options)
        written = write_result(
            segmentation, self.out, stem, case=self.case, scan=run.state.original, card=self.card, **possible
        )
        return FileResult(path, segmentation, tuple(written), left_out)

    def _start(self, image: Scan) -> Run | PromptRun:
        from napari_latentseg.api.inference import start_run

        if self.prompts is None:
            return start_run(image, self.model, self.settings, plane=self.plane, codec=self.codec)
        return start_prompt_run(
            image, self.model, self.prompts, self.settings, through=self.through, codec=self.codec
        )

    def _has_result(self, image: Scan, stem: str) -> bool:
        """Whether the folder has a complete and unchanged result of this image by this model."""
        from napari_latentseg.io.earlier_results import find_earlier_result
        from napari_latentseg.io.result_names import name_prefix

        earlier = find_earlier_result(self.out, name_prefix(stem))
        record = earlier.record
        if record is None or earlier.changed or not record.complete:
            return False
        if (record.hints.hints if record.hints is not None else ()) != self.hints:
            return False
        is_same_model = (record.model.name, record.model.version) == (self.card.name, self.card.version)
        if (record.prompts, record.through) != (self.prompts, self.through):
            return False
        return is_same_model and record.input.sha256 == _input_sha256(image, self.settings.box)


def possible_outputs(
    segmentation: Segmentation, card: ModelCard, options: dict[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The options of `write_result` without what a result cannot give, and why it cannot."""
    from napari_latentseg.core.agreement import agreement_unavailable_reason
    from napari_latentseg.measure import contours_unavailable_reason

    reasons = {
        "agreement": agreement_unavailable_reason(segmentation) if options.get("agreement") else "",
        "band": contours_unavailable_reason(segmentation, card) if options.get("band") else "",
    }
    titles = {"agreement": "agreement", "band": "contours"}
    left_out = [f"no {titles[n]}: {why[0].lower()}{why[1:]}" for n, why in reasons.items() if why]
    return options | {name: False for name, reason in reasons.items() if reason}, tuple(left_out)


def _input_sha256(image: Scan, box: tuple[int, int, int, int] | None) -> str:
    """The hash by which the record of a run names its image."""
    return list(image.iter_sha256(box))[-1]

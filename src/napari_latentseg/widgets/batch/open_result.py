"""Open the image of a case with its result, as if it had been segmented in this window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_latentseg import api
from napari_latentseg.batches.case_rows import CaseRow
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.reorient import reorient
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.core.temperature import NO_TEMPERATURE
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.io.dicom import reader as dicom
from napari_latentseg.io.read_results import read_segmentation
from napari_latentseg.io.registry import find_reader, read_scan, readable_suffixes
from napari_latentseg.measure import Measurement, class_sizes
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import scan_from_layer, spatial_arguments
from napari_latentseg.widgets._shared.result_layers import DisplayData, PlaneView, ResultLayers
from napari_latentseg.widgets._shared.run_result import RunResult
from napari_latentseg.widgets._shared.runner import RunJob
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets._shared.view import show_whole
from napari_latentseg.widgets.batch.image_names import cases_by_code, forget_cases
from napari_latentseg.widgets.opening.layer_data import LayerData, layers_of_scan, survey_path
from napari_latentseg.widgets.review.navigate import navigate_to

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = [
    "SavedCase",
    "add_images",
    "label_map_of",
    "open_case",
    "open_mask",
    "read_case",
    "read_image",
    "show_case",
]

_RESULT_KEY = "latentseg result"  # in the metadata of a mask that was opened without its maps


@dataclass(frozen=True)
class SavedCase:
    """What is read in a worker: the layers of the image, and the result with all that is shown of it."""

    layers: list[LayerData]
    segmentation: Segmentation
    card: ModelCard
    settings: InferenceSettings
    view: PlaneView
    display: DisplayData
    sizes: tuple[Measurement, ...]


def open_case(
    viewer: ViewerModel,
    row: CaseRow,
    images: Path | None,
    on_done: Callable[[RunResult], Any],
    on_error: Callable[[BaseException], None] = show_exception,
) -> ThreadWorker | None:
    """Add the image of a case and the layers of its result; a result that is open already is selected.

    Parameters
    ----------
    viewer
        The viewer to add them to.
    row
        A case that has a result.
    images
        The folder or list of the images, for a case whose row has no path; None where that is not known.
    on_done
        Called with the result once its layers are there.
    on_error
        Called with the error; shows it where not given.

    Returns
    -------
    ThreadWorker
        Reads the files; None where the result is open already.
    """
    session, path = session_of(viewer), Path(row.result)
    for result in session.results:
        if result.saved_at == path and result.is_in_viewer:
            session.select_result(result)
            on_done(result)
            return None
    return run_in_thread(
        lambda: read_case(row, images), lambda saved: show_case(viewer, row, saved, on_done), on_error
    )


def show_case(
    viewer: ViewerModel,
    row: CaseRow,
    saved: SavedCase,
    on_done: Callable[[RunResult], Any],
    metadata: Mapping[str, Any] | None = None,
    goes_on: Callable[[], bool] = lambda: True,
) -> None:
    """Add the layers of a case that was read, one after another, so that the window draws in between.

    Image and mask come first; the maps, which are hidden until they are asked for, are added afterwards.

    Parameters
    ----------
    viewer, row, on_done
        As for `open_case`.
    saved
        What `read_case` read.
    metadata
        Further metadata of the layer of the image.
    goes_on
        Asked before each map; once it says no, the rest is not added.
    """
    image = add_images(viewer, saved.layers, metadata)
    job = RunJob(scan_from_layer(image), saved.card.name, saved.settings, saved.view)
    result = RunResult(ResultLayers(viewer, image, saved.segmentation.classes), job, saved.card)
    result.segmentation, result.sizes, result.saved_at = saved.segmentation, saved.sizes, Path(row.result)
    result.seconds = saved.segmentation.record.seconds

    steps = result.layers.show_all(saved.segmentation, saved.display)
    next(steps)  # the mask
    session = session_of(viewer)

    def finish() -> None:
        if not result.is_in_viewer:  # its layers may have been removed as they came
            return
        session.add_result(result)
        if index := _doubtful_index(row.doubtful_slice, result.layers.image.ndim):
            navigate_to(viewer, result.layers.image, index)
        on_done(result)
        QTimer.singleShot(0, add_map)

    def add_map() -> None:
        if not (result.is_in_viewer and goes_on()):
            return
        if next(steps, "end") is None:
            QTimer.singleShot(0, add_map)
        else:
            session.maps_added.emit(result)

    QTimer.singleShot(0, finish)


def open_mask(
    viewer: ViewerModel,
    row: CaseRow,
    images: Path | None,
    on_done: Callable[[], Any],
    on_error: Callable[[BaseException], None] = show_exception,
) -> ThreadWorker | None:
    """Add the image of a case and its label map, all that the layouts of BIDS and nnU-Net keep of the mask.

    Parameters
    ----------
    viewer
        The viewer to add them to.
    row
        A case that has a result.
    images
        The folder or list of the images, for a case whose row has no path; None where that is not known.
    on_done
        Called once the layers are there.
    on_error
        Called with the error; shows it where not given.

    Returns
    -------
    ThreadWorker
        Reads the files; None where they are open already.
    """
    for layer in viewer.layers:
        if layer.metadata.get(_RESULT_KEY) == row.result:
            viewer.layers.selection.active = layer
            on_done()
            return None

    def read() -> tuple[list[LayerData], NDArray[Any], tuple[ClassInfo, ...]]:
        path, located_row = Path(row.result), _with_path(row, images)
        content = load_json(path.read_text("utf-8"))
        record = RunRecord.model_validate(content.get("RunRecord", content))
        scan, mask = read_image(located_row), read_scan(label_map_of(path))
        _check_same_image(located_row, scan, record)
        return (
            layers_of_scan(scan, row.case),
            np.asarray(mask.array).reshape(scan.spatial_shape),
            record.classes,
        )

    def show(saved: tuple[list[LayerData], NDArray[Any], tuple[ClassInfo, ...]]) -> None:
        layers, mask, classes = saved
        image = add_images(viewer, layers)
        metadata = {_RESULT_KEY: row.result}
        viewer.add_labels(
            mask,
            name=f"{row.case} mask",
            metadata=metadata,
            **label_style(classes),
            **spatial_arguments(image),
        )
        on_done()

    return run_in_thread(read, show, on_error)


def label_map_of(record: Path) -> Path:
    """The label map beside its record, which has the same name but for the suffix.

    Raises
    ------
    BadInput
        If there is none.
    """
    paths = (record.with_suffix(suffix) for suffix in readable_suffixes())
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise BadInput(record, "has no mask beside it", "segment the folder again, with Continue")
    return path


def add_images(
    viewer: ViewerModel, layers: list[LayerData], metadata: Mapping[str, Any] | None = None
) -> Image:
    """Add the layers of an image, which are several where it has channels; the first is the case.

    All of it is shown, unless an image of the same place and size is there: then the view stays as it is.
    """
    others = list(viewer.layers)
    images: list[Image] = []
    for data, arguments, _ in layers:
        further = {"metadata": {**arguments.get("metadata", {}), **(metadata or {})}}
        images.append(viewer.add_image(data, **(arguments | further)))
    extent = images[0].extent.world
    if not any(other.ndim == images[0].ndim and np.allclose(other.extent.world, extent) for other in others):
        show_whole(viewer, images[0])
    return images[0]


def read_case(row: CaseRow, images: Path | None = None) -> SavedCase:
    """Read the image and the result of a case; best called in a worker.

    Parameters
    ----------
    row, images
        As for `open_case`.

    Raises
    ------
    BadInput
        If one of them is missing or was changed since, or the model is no longer installed.
    """
    row = _with_path(row, images)
    segmentation = read_segmentation(Path(row.result))
    record = segmentation.record
    card = _card_of(record.model.name, record.model.version)
    scan = read_image(row)
    _check_same_image(row, scan, record)
    order = reorient(scan, record.plane)[1]
    is_reoriented = order != tuple(range(len(order)))
    return SavedCase(
        layers_of_scan(scan, row.case),
        segmentation,
        card,
        InferenceSettings(
            samples=record.samples_asked,
            source=record.source,
            seed=record.seed,
            threshold=record.threshold,
            temperature=record.temperature or NO_TEMPERATURE,
        ),
        PlaneView(record.plane, order if is_reoriented else ()),
        DisplayData.from_segmentation(segmentation),
        class_sizes(segmentation, card),
    )


def _with_path(row: CaseRow, images: Path | None) -> CaseRow:
    """A row with the path of its image, which the table of a de-identified batch does not have.

    Raises
    ------
    BadInput
        If the image is not among those that are given.
    """
    if row.path:
        return row
    if images is not None:
        for _ in range(2):
            case = cases_by_code(images).get(row.case)
            if case is not None:
                series = "" if case.series is None else str(case.series)
                return replace(row, path=str(case.path), series=series)
            forget_cases()  # the folder may have changed since
    why = "the table of a de-identified batch has no paths, and its image is not among the images given"
    raise BadInput(row.case, why, "give their folder under Images")


def read_image(row: CaseRow) -> Scan:
    """Read the image of a case."""
    path = Path(row.path)
    series: Any = row.series or None
    if series and find_reader(path).NAME != dicom.NAME:  # a series of DICOM has a name of digits
        series = int(series)
    return survey_path(path).read(series)


def _check_same_image(row: CaseRow, scan: Scan, record: RunRecord) -> None:
    """Refuse an image that is not the one that was segmented."""
    if scan.content_sha256 != record.input.sha256:
        why = "was changed since it was segmented"
        raise BadInput(Path(row.path).name, why, "compute it again")


def _card_of(name: str, version: str) -> ModelCard:
    """The card of the version that made a result."""
    for model in api.model_history(name):
        if model.version == version:
            return read_card(model.folder)
    raise BadInput(f"version {version} of {name}", "is not installed", "install it under Models")


def _doubtful_index(text: str, ndim: int) -> tuple[int, ...]:
    """The index of a slice that the table counts from 1; empty where it names none of the image."""
    numbers = text.split("/")
    if len(numbers) != ndim - 2 or not all(number.isdecimal() for number in numbers):
        return ()
    return tuple(int(number) - 1 for number in numbers)

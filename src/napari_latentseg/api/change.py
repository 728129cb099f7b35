"""Two results of one patient: how much each class has changed between the dates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.given_result import opened_result
from napari_latentseg.api.images import ImageLike, open_image
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import as_path, check_callable
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.change.date_change import DateChange, PlacedMask
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["compare_dates", "compare_with_earlier"]

_NOT_TOGETHER = "the outlines are not shown over one image"
_REGISTER = ". To see them together, give both images and register them"
_PATIENT_UNKNOWN = (
    "It was not checked whether both results are of one patient: that needs the DICOM images of both dates."
)


def compare_dates(
    first: Segmentation | str | Path,
    second: Segmentation | str | Path,
    *,
    first_image: ImageLike | None = None,
    second_image: ImageLike | None = None,
    register: bool = False,
    edited: bool = False,
    report: str | Path | None = None,
    progress: Progress = no_progress,
    should_stop: Callable[[], bool] | None = None,
) -> DateChange:
    """Compare two results of one patient: how much each class has changed, and how surely.

    Sizes are always measured on the grid of their own image. The interval of a change comes from the
    intervals of both sizes, calibrated ones where both are.

    Parameters
    ----------
    first, second
        The results of the earlier and the later date: what `segment` returns, or the files of a result.
    first_image, second_image
        The images that were segmented, to show both outlines over the first, to register them, and to find
        out from DICOM whether they are of one patient.
    register
        Whether to register the images rigidly where they do not lie in one place, which needs SimpleITK and
        both images.
    edited
        Whether a mask may have been changed after the run that wrote it.
    report
        An HTML file for a page with the changes and both outlines. A file that is there is replaced.
    progress
        Called with the fraction that is done, in [0, 1].
    should_stop
        Asked while the images are registered; whether to give up.

    Returns
    -------
    DateChange
        The change of each class, with its interval and a verdict, and the mask of the second date on the grid
        of the first where it is known how the images lie.

    Raises
    ------
    BadInput
        If a result cannot be read, the two are of one image, of two patients or of other classes, only one
        has a physical size, an image is not that of its result, or they cannot be registered.
    Cancelled
        If `should_stop` said so.

    Examples
    --------
    >>> from napari_latentseg import compare_dates, segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> first, second = (ultrasound_phantom(shape=(96, 128), seed=seed).scan for seed in (0, 1))
    >>> results = [segment(scan, "breast-ultrasound", samples=3) for scan in (first, second)]
    >>> (change,) = compare_dates(*results, report="change.html").changes
    >>> change.name, change.unit, change.low < change.difference < change.high
    ('lesion', 'mm2', True)
    """
    check_callable("progress", progress)
    if should_stop is not None:
        check_callable("should_stop", should_stop)
    page = None if report is None else as_path("report", report)
    if page is not None:
        from napari_latentseg.report.evaluation_page import check_evaluation_page

        check_evaluation_page(page)
    opened = _open_dates(first, second, first_image, second_image, register=register, edited=edited)
    change = _compare(opened, register=register, progress=progress, should_stop=should_stop)
    if page is not None:
        from napari_latentseg.report.change_page import write_change_page

        write_change_page(page, change, *opened.results, *opened.images)
    progress(1.0)
    return change


def compare_with_earlier(
    current: Segmentation,
    earlier: Segmentation | str | Path,
    *,
    current_image: ImageLike | None = None,
    earlier_image: ImageLike | None = None,
    register: bool = False,
    progress: Progress = no_progress,
    should_stop: Callable[[], bool] | None = None,
) -> DateChange:
    """As `compare_dates`, with the earlier mask on the grid of the current image, which is on screen.

    Parameters
    ----------
    current, earlier
        The results.
    current_image, earlier_image
        The images that were segmented.
    register, progress, should_stop
        As for `compare_dates`.

    Returns
    -------
    DateChange
        Its `placed_mask` is that of the earlier date.

    Raises
    ------
    BadInput
        As `compare_dates`.
    Cancelled
        If `should_stop` said so.
    """
    opened = _open_dates(earlier, current, earlier_image, current_image, register=register, edited=False)
    return _compare(opened, over_first=False, register=register, progress=progress, should_stop=should_stop)


@dataclass(frozen=True)
class _Dates:
    """The results of both dates, and their images where they were given."""

    results: tuple[Segmentation, Segmentation]
    images: tuple[Scan | None, Scan | None]


def _open_dates(
    first: Any, second: Any, first_image: Any, second_image: Any, *, register: bool, edited: bool
) -> _Dates:
    """Open results and images; refuse, in the order of what costs least, what cannot be compared."""
    from napari_latentseg.change.date_change import check_comparable
    from napari_latentseg.core.same_image import check_same_image

    if register:
        _check_can_register(first_image, second_image)
    one, other = (opened_result(result, edited=edited) for result in (first, second))
    check_comparable(one, other)
    images = tuple(None if image is None else open_image(image) for image in (first_image, second_image))
    for image, result in zip(images, (one, other), strict=True):
        if image is not None:
            check_same_image(image, result.record)
    return _Dates((one, other), (images[0], images[1]))


def _compare(
    dates: _Dates,
    *,
    register: bool,
    progress: Progress,
    should_stop: Callable[[], bool] | None,
    over_first: bool = True,
) -> DateChange:
    """Compare two dates, with the mask of one on the grid of the other."""
    from napari_latentseg.api.result_card import card_of_result
    from napari_latentseg.change.date_change import change_between
    from napari_latentseg.errors import Cancelled

    first, second = dates.results
    notes, frames_differ = _check_one_patient(dates)
    progress(0.2)
    pairs = list(zip(dates.results, dates.images, strict=True))
    (base, base_image), (other, other_image) = pairs if over_first else reversed(pairs)
    placed = _placed_mask(
        base, other, base_image, other_image, register=register, frames_differ=frames_differ,
        progress=lambda done: progress(0.2 + 0.6 * done), should_stop=should_stop,
    )  # fmt: skip
    progress(0.8)
    if should_stop is not None and should_stop():
        raise Cancelled
    return change_between(first, second, (card_of_result(first), card_of_result(second)), placed, notes)


def _check_can_register(first_image: Any, second_image: Any) -> None:
    from napari_latentseg.change.registration import check_registration_available

    if first_image is None or second_image is None:
        raise BadInput("register", "needs the images of both dates", "give both images, or leave it out")
    check_registration_available()


def _check_one_patient(dates: _Dates) -> tuple[list[str], bool | None]:
    """Notes, and whether the frames of reference differ; None where that is not known.

    A result that was made in this process knows its image where that was not given.

    Raises
    ------
    BadInput
        If the images are of two patients.
    """
    from napari_latentseg.io.dicom.identity import series_identity

    one, other = (
        series_identity(result if image is None else image)
        for result, image in zip(dates.results, dates.images, strict=True)
    )
    notes: list[str] = []
    if one is not None and other is not None and one.patient and other.patient:
        if one.patient != other.patient:
            raise BadInput(
                "images", "are of two patients, by their DICOM headers", "give two results of one patient"
            )
    elif any(result.format == "dicom" for result in dates.results):
        notes.append(_PATIENT_UNKNOWN)
    if one is None or other is None:
        return notes, None
    if one.date and other.date and one.date > other.date:
        notes.append("The second image was taken before the first: give the earlier result first.")
    if not (one.frame_of_reference and other.frame_of_reference):
        return notes, None
    return notes, one.frame_of_reference != other.frame_of_reference


def _placed_mask(
    base: Segmentation,
    other: Segmentation,
    base_image: Scan | None,
    other_image: Scan | None,
    *,
    register: bool,
    frames_differ: bool | None,
    progress: Progress,
    should_stop: Callable[[], bool] | None,
) -> PlacedMask:
    """The mask of one date on the grid of the other, by what is known of how the images lie."""
    import numpy as np

    from napari_latentseg.change.date_change import PlacedMask
    from napari_latentseg.change.placement import resampled_onto, turned_onto
    from napari_latentseg.change.registration import register_rigidly

    labels = _relabelled(other, base)
    target, shape = base.geometry, np.asarray(base.mask).shape
    if frames_differ is not True:
        placed = turned_onto(labels, other.geometry, target, shape)
        if placed is not None:
            return PlacedMask(placed, "by their headers, both images lie in the same place")
    if frames_differ is False:
        placed = resampled_onto(labels, other.geometry, target, shape)
        return PlacedMask(placed, "by their DICOM headers, both images have the same frame of reference")
    if not register:
        return PlacedMask(None, f"The images do not lie in the same place, so {_NOT_TOGETHER}{_REGISTER}.")
    assert base_image is not None
    assert other_image is not None
    registration = register_rigidly(base_image, other_image, progress=progress, should_stop=should_stop)
    placed = resampled_onto(labels, other.geometry, target, shape, registration)
    text = "the two images were registered rigidly"
    return PlacedMask(placed, f"{text} (correlation {registration.correlation:.2f})", registration)


def _relabelled(other: Segmentation, base: Segmentation) -> Any:
    """The mask of one date with the labels that its classes have at the other."""
    import numpy as np

    mask = np.asarray(other.mask)
    labels = {info.name: info.label for info in base.mask_classes}
    table = np.zeros(256, np.uint8)
    for info in other.mask_classes:
        table[info.label] = labels.get(info.name, 0)
    return table[mask]

"""The masks of several readers of one image, compared with each other and with a model's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.given_result import opened_result
from napari_latentseg.api.images import ImageLike, open_image
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import as_path, number
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.evaluation.consensus import Consensus
    from napari_latentseg.evaluation.model_beside_readers import ModelMaps
    from napari_latentseg.evaluation.reader_comparison import ReaderComparison

__all__ = ["compare_readers", "consensus", "report_readers"]


def compare_readers(
    masks: Sequence[Any] | Mapping[str, Any],
    *,
    readers: Sequence[str] | None = None,
    classes: Sequence[ClassInfo] | None = None,
    geometry: Geometry | None = None,
    consensus: str = "majority",
    tolerance: float | None = None,
    result: Segmentation | str | Path | None = None,
    image: ImageLike | None = None,
    edited: bool = False,
    report: str | Path | None = None,
    progress: Progress = no_progress,
) -> ReaderComparison:
    """Compare the masks of two to eight readers of one image, and a model's result with them.

    Parameters
    ----------
    masks
        Label maps of one image, or a mapping from names of readers to them: arrays, scans, mask files, images
        of SimpleITK or nibabel, or folders of annotation stores, of which the approved mask of `image` is
        taken. A mask that lies where the first does but is stored in another orientation is turned exactly.
    readers
        Names of the readers; ``"reader 1"`` and so on where not given, so that no file name is shown.
    classes
        The classes, and their values in the masks. By default those of `result`, of the run beside a mask or
        of the store, else one for each label. With a single class, every nonzero value is the class.
    geometry
        Of masks that are arrays; without one, distances are in pixels.
    consensus
        ``"majority"`` (strictly more than half of the readers) or ``"staple"``, which needs SimpleITK.
    tolerance
        Of surface Dice, in mm, or in pixels without a unit of length. By default the larger side of a pixel,
        the smallest difference that two people who trace the same edge can have.
    result
        A result of a model for the same image, or its files. Its samples are compared with the readers where
        they were kept, as in memory after `segment`; else its mask.
    image
        The image, for the pictures of the page, and to find its mask in annotation stores.
    edited
        Whether a mask may have been changed after the run that wrote it.
    report
        An HTML file for a page with the scores and the slices of largest disagreement. A file that is there
        is replaced.
    progress
        Called with the fraction done, in [0, 1]; what it raises, such as `Cancelled`, ends the comparison.

    Returns
    -------
    ReaderComparison
        Every pair of readers, each against the consensus, the map of their disagreement, and the model beside
        them. The variance of a model is not the disagreement of readers.

    Raises
    ------
    BadInput
        If there are fewer than two or more than eight masks, one cannot be read, lies elsewhere or is no
        label map, all are empty, the result is of another image, or an argument is not possible.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_latentseg import Geometry, compare_readers
    >>> anna, ben = np.zeros((2, 20, 20), np.uint8)
    >>> anna[5:15, 5:15], ben[5:15, 5:14] = 1, 1
    >>> geometry = Geometry.from_spacing("yx", (0.5, 0.5), "mm")
    >>> compared = compare_readers({"Anna": anna, "Ben": ben}, geometry=geometry)
    >>> (pair,) = compared.pairs
    >>> pair.first, pair.second, round(pair.dsc, 3), pair.surface_dice, compared.tolerance.describe()
    ('Anna', 'Ben', 0.947, 1.0, '0.5 mm')
    >>> compared.largest_disagreement.shape, float(compared.disagreement.max())
    ((20, 20), 0.25)
    """
    from napari_latentseg.api.reader_masks import open_masks
    from napari_latentseg.core.same_image import check_same_image
    from napari_latentseg.evaluation.consensus import check_method
    from napari_latentseg.evaluation.reader_comparison import compare_label_maps
    from napari_latentseg.evaluation.surface_dice import check_tolerance

    method = check_method(consensus)
    limit = None if tolerance is None else number("tolerance", tolerance)
    if limit is not None:
        check_tolerance(limit)
    page = None if report is None else as_path("report", report)
    if page is not None:
        from napari_latentseg.report.evaluation_page import check_evaluation_page

        check_evaluation_page(page)
    scan = None if image is None else open_image(image)
    segmentation = None if result is None else opened_result(result, edited=edited)
    if scan is not None and segmentation is not None:
        check_same_image(scan, segmentation.record)
    if classes is None and segmentation is not None:
        classes = segmentation.classes
    opened = open_masks(masks, readers=readers, classes=classes, geometry=geometry, image=scan, edited=edited)
    shape = opened.label_maps[0].shape
    model, compared, segmented = None, opened.compared, opened.segmented
    if segmentation is not None:
        model, part = _model_maps(segmentation, opened.geometry, shape)
        if part is not None:
            compared = part if compared is None else compared & part
            text = segmentation.segmented_region.describe()
            segmented = text if segmented in ("", text) else f"{segmented} and {text}"
    comparison = compare_label_maps(
        opened.label_maps, opened.readers, opened.geometry, opened.classes, method=method, tolerance=limit,
        model=model, compared=compared, segmented=segmented, progress=progress,
    )  # fmt: skip
    if page is not None:
        report_readers(comparison, page, scan)
    return comparison


def report_readers(comparison: ReaderComparison, path: str | Path, image: ImageLike | None = None) -> Path:
    """Write a page with the scores of a comparison and the slices of largest disagreement.

    Parameters
    ----------
    comparison
        From `compare_readers`.
    path
        A file name ending in `.html`; a file that is there is replaced.
    image
        The image of the masks, for the pictures.

    Returns
    -------
    Path
        The file: pictures included, without scripts. It has the names of the readers, and no file name.

    Raises
    ------
    BadInput
        If it cannot be written, or the image lies elsewhere than the masks.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_latentseg import compare_readers, report_readers
    >>> anna, ben = np.zeros((2, 20, 20), np.uint8)
    >>> anna[5:15, 5:15], ben[5:15, 5:14] = 1, 1
    >>> page = report_readers(compare_readers({"Anna": anna, "Ben": ben}), "readers.html")
    >>> "Anna, Ben" in page.read_text("utf-8")
    True
    """
    from napari_latentseg.report.evaluation_page import check_evaluation_page
    from napari_latentseg.report.readers_page import write_readers_page

    page = as_path("path", path)
    check_evaluation_page(page)
    scan = None if image is None else open_image(image)
    return write_readers_page(page, comparison, None if scan is None else _placed_image(scan, comparison))


def consensus(
    masks: Sequence[Any] | Mapping[str, Any],
    method: str = "staple",
    *,
    readers: Sequence[str] | None = None,
    classes: Sequence[ClassInfo] | None = None,
    geometry: Geometry | None = None,
    image: ImageLike | None = None,
    edited: bool = False,
) -> Consensus:
    """The consensus of the masks of two to eight readers of one image.

    Parameters
    ----------
    masks, readers, classes, geometry, image, edited
        As for `compare_readers`.
    method
        ``"staple"``, which weights readers by how reliable they are and needs SimpleITK, or ``"majority"``:
        strictly more than half of the readers.

    Returns
    -------
    Consensus
        A label map in the geometry of the first mask; with STAPLE, sensitivity and specificity of each
        reader.

    Raises
    ------
    BadInput
        As `compare_readers`, and if SimpleITK is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_latentseg import consensus
    >>> readers = np.zeros((3, 20, 20), np.uint8)
    >>> readers[0, 5:15, 5:15] = readers[1, 5:15, 5:14] = readers[2, 5:15, 6:20] = 1
    >>> result = consensus(list(readers))
    >>> result.method, result.labels.dtype, len(result.performance)
    ('staple', dtype('uint8'), 3)
    """
    from napari_latentseg.api.reader_masks import open_masks
    from napari_latentseg.evaluation.consensus import check_method, estimate_consensus

    chosen = check_method(method)
    opened = open_masks(
        masks, readers=readers, classes=classes, geometry=geometry, edited=edited,
        image=None if image is None else open_image(image),
    )  # fmt: skip
    if not any(labels.any() for labels in opened.label_maps):
        raise BadInput("masks", "are all empty, so there is no consensus", "give masks with a class")
    return estimate_consensus(
        opened.label_maps, opened.readers, opened.geometry, opened.classes, chosen, opened.compared
    )


def _model_maps(
    segmentation: Segmentation, target: Geometry, shape: tuple[int, ...]
) -> tuple[ModelMaps, NDArray[np.bool_] | None]:
    """What a result holds on the grid of the masks, and the voxels that it segmented; None for all."""
    import numpy as np

    from napari_latentseg.core.agreement import iter_sample_masks
    from napari_latentseg.core.embed import embed
    from napari_latentseg.core.segmented_region import segmented_voxels
    from napari_latentseg.evaluation.label_maps import placed_on
    from napari_latentseg.evaluation.model_beside_readers import ModelMaps

    def placed(array: Any) -> NDArray[Any]:
        return placed_on(
            "result", np.asarray(array), segmentation.geometry, target, shape,
            target_name="the first mask", remedy="give a result and masks of the same image",
        )  # fmt: skip

    record, full_shape = segmentation.record, segmentation.mask.shape
    mask = placed(segmentation.mask_of_model())
    samples = tuple(
        placed(embed(sample, full_shape, segmentation.roi or ()))
        for sample in iter_sample_masks(segmentation)
    )
    part = segmented_voxels(record, np.asarray(segmentation.mask), segmentation.geometry)
    maps = ModelMaps(
        title=f"{record.model.name} {record.model.version}",
        mask=mask,
        samples=samples,
        drawn=record.samples,
        mean=np.stack([placed(values) for values in segmentation.mean]),
        variance=None
        if segmentation.variance is None
        else np.stack([placed(values) for values in segmentation.variance]),
    )
    return maps, None if part is None else placed(part)


def _placed_image(scan: Scan, comparison: ReaderComparison) -> Scan:
    """The image index on index with the masks."""
    import numpy as np

    from napari_latentseg.core.scan import CHANNEL, to_numpy
    from napari_latentseg.evaluation.label_maps import placed_on

    shape, geometry = comparison.label_maps[0].shape, comparison.geometry

    def placed(array: Any) -> NDArray[Any]:
        return placed_on(
            scan.name, array, scan.geometry, geometry, shape,
            target_name="the first mask", remedy="give the image of the masks",
        )  # fmt: skip

    values = to_numpy(scan.array)
    axes = "".join(geometry.axis_labels)
    if not scan.axes.endswith(CHANNEL):
        return scan.replace(array=placed(values), axes=axes, geometry=geometry, levels=())
    channels = [placed(values[..., channel]) for channel in range(values.shape[-1])]
    return scan.replace(array=np.stack(channels, axis=-1), axes=axes + CHANNEL, geometry=geometry, levels=())

"""Keep the predictions of the worst images while a model is evaluated."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.data.cases import Case
    from napari_latentseg.evaluation.scores import ImageScores
    from napari_latentseg.evaluation.worst_images import WorstImage

__all__ = ["WorstImages", "worst_images_folder"]


class WorstImages:
    """The images with the lowest Dice so far: the files of those that are displaced by others are removed.

    Parameters
    ----------
    folder
        An empty folder.
    classes
        Of the model.
    """

    def __init__(self, folder: Path, classes: Sequence[ClassInfo]) -> None:
        self._folder, self._classes = folder, classes
        self._images: list[WorstImage] = []

    def add(
        self, case: Case, scores: ImageScores, reference: NDArray[np.uint8], segmentation: Segmentation
    ) -> None:
        """Keep an image if it is among the worst; see `Evaluation.on_scored`.

        Raises
        ------
        BadInput
            If its files cannot be written.
        """
        from napari_latentseg.evaluation.worst_images import WORST_COUNT, WorstImage
        from napari_latentseg.io.write_results import write_segmentation

        if len(self._images) == WORST_COUNT and scores.dsc >= self._images[-1].dsc:
            return
        folder = self._folder / case.name
        written = write_segmentation(segmentation, folder, case.name)
        reference_file = self._write_reference(case, reference, segmentation, written[0])
        image = WorstImage(
            name=case.name,
            dsc=scores.dsc,
            iou=scores.iou,
            hd95=scores.hd95,
            image=str(self._image_file(case, folder)),
            result=written[-1].relative_to(self._folder).as_posix(),
            reference=reference_file.relative_to(self._folder).as_posix(),
            worst_slice=_worst_slice(reference, segmentation, self._classes),
        )
        self._images = sorted([*self._images, image], key=lambda kept: kept.dsc)
        if len(self._images) > WORST_COUNT:
            shutil.rmtree(self._folder / self._images.pop().name)

    def _write_reference(
        self, case: Case, reference: NDArray[np.uint8], segmentation: Segmentation, mask_file: Path
    ) -> Path:
        from napari_latentseg.core.scan import Scan
        from napari_latentseg.io.convert import write_scan

        path = mask_file.with_name(mask_file.name.replace(f"{case.name}_mask", f"{case.name}_reference", 1))
        labels = _labels(reference, self._classes)
        write_scan(Scan(labels, segmentation.axes, segmentation.geometry), path)
        return path

    def _image_file(self, case: Case, folder: Path) -> Path:
        """The file of the image; a case of an annotation store is written as one."""
        if case.image_file is not None:
            return case.image_file.absolute()
        from napari_latentseg.io.convert import write_scan

        path = folder / f"{case.name}.nii.gz"
        write_scan(case.read_scan(), path)
        return path

    def finish(self) -> None:
        """Write the list of the images that are kept."""
        from napari_latentseg.evaluation.worst_images import write_worst_images

        write_worst_images(self._folder, self._images)


@contextmanager
def worst_images_folder(folder: Path | None, classes: Sequence[ClassInfo]) -> Iterator[WorstImages | None]:
    """A collection whose files are in a folder once the block has succeeded; None where no folder is given.

    Raises
    ------
    BadInput
        If the folder is not empty, or cannot be written.
    """
    if folder is None:
        yield None
        return
    from napari_latentseg.utils.atomic import atomic_folder

    with atomic_folder(folder, is_private=True) as temporary:
        worst = WorstImages(temporary, classes)
        yield worst
        worst.finish()


def _labels(class_numbers: NDArray[np.uint8], classes: Sequence[ClassInfo]) -> NDArray[np.uint8]:
    """The labels of the model; voxels of which nothing is known get none."""
    import numpy as np

    labels = np.zeros(256, np.uint8)
    labels[1 : len(classes) + 1] = [info.label for info in classes]
    return labels[class_numbers]


def _worst_slice(
    reference: NDArray[np.uint8], segmentation: Segmentation, classes: Sequence[ClassInfo]
) -> str:
    """See `WorstImage`."""
    import numpy as np

    from napari_latentseg.data.cases import UNKNOWN_CLASS

    if reference.ndim == 2:
        return ""
    is_wrong = (_labels(reference, classes) != np.asarray(segmentation.mask)) & (reference != UNKNOWN_CLASS)
    counts = is_wrong.sum(axis=(-2, -1))
    return "/".join(str(int(i) + 1) for i in np.unravel_index(int(counts.argmax()), counts.shape))

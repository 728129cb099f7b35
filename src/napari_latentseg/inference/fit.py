"""Whether a model was made for an image, from the latents that the model computes from it anyway."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.fit import Fit
from napari_latentseg.core.reorient import reorient
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.cases import Case
from napari_latentseg.data.resize import resize
from napari_latentseg.evaluation.fit import FitReference, ImageStatistics, Orientation
from napari_latentseg.evaluation.header_fit import HeaderFacts, HeaderRange, header_fit, worst_fit
from napari_latentseg.inference.tiles import make_tiling
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.device import Compute

if TYPE_CHECKING:
    from napari_latentseg.models.folder import Model

__all__ = [
    "FitCheck",
    "LatentSums",
    "check_scan",
    "extend_reference",
    "fit_reference",
    "scan_statistics",
    "training_orientation",
]

_MAX_TRAINING_IMAGES = 600
_MAX_VALIDATION_IMAGES = 200
_SLICES_OF_VOLUME = 16  # evenly spaced; neighbouring slices are much alike
_SLICES_BEFORE_RUN = 8
_TILES_BEFORE_RUN = 16
_TILES_AT_ONCE = 4
_MAX_PLANE_PIXELS = 2**25  # 33 million, 400 MB as float32 RGB: a larger slice is only checked while it is run
_SHARPNESS_SIDE = 512  # pixels
_LEAST_CONTRAST = 1 / 255


class LatentSums:
    """The statistics of the latents of one plane, summed up tile by tile.

    Parameters
    ----------
    height
        Of the plane at working size, in pixels.
    factor
        Pixels per latent position.
    """

    def __init__(self, height: int, factor: int) -> None:
        self._height, self._factor = height, factor
        self._count = 0
        self._position_sum = 0.0
        self._sums: NDArray[np.float64] | None = None

    def add(self, latents: NDArray[np.float32], corners: Sequence[tuple[int, int]]) -> None:
        """Add tiles of latents `(B, C, h, w)`, and the rows and columns of their top left pixels."""
        rows, columns = latents.shape[-2:]
        offsets = (np.arange(rows) + 0.5) * self._factor
        tops = np.array([top for top, _ in corners])
        positions = 2 * (tops[:, None] + offsets) / self._height - 1
        row_sums = latents.sum(axis=3, dtype=np.float64)
        sums = np.stack(
            [
                row_sums.sum(axis=(0, 2)),
                np.square(latents).sum(axis=(0, 2, 3), dtype=np.float64),
                np.einsum("bcr,br->c", row_sums, positions),
            ]
        )
        self._sums = sums if self._sums is None else self._sums + sums
        self._count += len(latents) * rows * columns
        self._position_sum += float(positions.sum()) * columns

    def statistics(self, orientation: Orientation) -> NDArray[np.float64]:
        """The mean, the logarithm of the standard deviation and the slope of each channel, `(D,)`.

        The slope is the covariance with the position between the top (-1) and the bottom (1); it is left out
        where the orientation is not told apart.
        """
        assert self._sums is not None
        mean, square, moment = self._sums / self._count
        parts = [mean, np.log(np.sqrt(np.maximum(square - mean**2, 0)) + 1e-3)]
        if orientation == "upright":
            parts.append(moment - mean * self._position_sum / self._count)
        return np.concatenate(parts)


@dataclass
class FitCheck:
    """Collects what tells whether a model fits an image, while the image is segmented.

    Attributes
    ----------
    reference
        Of the model's card; None if the card has none.
    header
        The verdict on the image's header; None if nothing could be compared.
    plane_count
        How many slices the image has.
    statistics
        Of the latents of each slice so far, by its index.
    contrast, sharpness
        Of each slice so far: the range of its values, in [0, 1], or of an even part of them, and its
        sharpness (see `ImageStatistics`).
    """

    reference: FitReference | None
    header: Fit | None
    plane_count: int
    statistics: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    contrast: dict[int, float] = field(default_factory=dict)
    sharpness: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, card: ModelCard, scan: Scan, plane_count: int) -> FitCheck:
        """A check that has seen the header alone.

        Parameters
        ----------
        card
            Of the model.
        scan
            Oriented as the model sees it.
        plane_count
            How many slices it has.
        """
        headers = None if card.fit is None else card.fit.headers
        return cls(card.fit, header_fit(scan, card.modality, headers), plane_count)

    @property
    def needs_latents(self) -> bool:
        """Whether the card has something to compare latents with."""
        return self.reference is not None and self.reference.latents is not None

    def add(self, plane: int, sums: LatentSums) -> None:
        """Add a slice whose latents were summed up."""
        if self.reference is not None and self.reference.latents is not None:
            self.statistics[plane] = sums.statistics(self.reference.latents.orientation)

    def add_image(self, plane: int, image: NDArray[np.float32]) -> None:
        """Add what is compared of a slice's pixels, `(3, H, W)` in [0, 1] at working size."""
        sparse = _contrast(image[:, ::8, ::8])  # enough but for a slice that is all but constant
        self.contrast[plane] = sparse if sparse >= _LEAST_CONTRAST else _contrast(image)
        if self.needs_latents:
            self.sharpness[plane] = _sharpness(image)

    def result(self) -> Fit | None:
        """The verdict on all that was seen; None where nothing could be compared."""
        if self.contrast and max(self.contrast.values()) < _LEAST_CONTRAST:
            reason = "every pixel has the same value, so there is nothing to segment"
            return worst_fit(Fit(state="foreign", reasons=(reason,)), self.header)
        if self.reference is None or not self.statistics:
            return self.header
        statistics = ImageStatistics(
            np.stack(list(self.statistics.values())), np.array(list(self.sharpness.values()))
        )
        return worst_fit(self.header, self.reference.check(statistics, self.plane_count))


def training_orientation(augment: AugmentationConfig) -> Orientation:
    """Whether all training images were upright, so that a rotated image is of another kind."""
    return "none" if augment.quarter_turn or augment.vertical_flip else "upright"


def check_scan(model: Model, compute: Compute, scan: Scan, plane: str = "acquired") -> Fit | None:
    """Whether a model was made for an image, from its header and a few of its slices.

    Parameters
    ----------
    model
        Is moved to the device of `compute`.
    compute
        Device and precision.
    scan
        The image.
    plane
        The orientation of the slices.

    Returns
    -------
    Fit or None
        None where nothing could be compared.

    Raises
    ------
    BadInput
        If the scan has no such slices, or cannot be read.
    """
    model.to(compute)
    oriented, _ = reorient(scan, plane)
    planes = model.card.preprocess.planes(oriented)
    check = FitCheck.of(model.card, oriented, len(planes))
    if math.prod(planes.full_plane_shape) > _MAX_PLANE_PIXELS:
        return check.result()
    for number in _evenly(len(planes), _SLICES_BEFORE_RUN):
        image = _read_plane(model, planes, number)
        check.add_image(number, image)
        if check.needs_latents:
            check.add(number, _sum_plane(model, compute, image, _TILES_BEFORE_RUN))
    return check.result()


def fit_reference(
    model: Model,
    compute: Compute,
    training: Sequence[Case],
    validation: Sequence[Case],
    *,
    are_crops: bool | None = None,
) -> FitReference:
    """Describe the training images, to compare other images with them.

    Of a large data set, 600 training and 200 validation images are taken, evenly from all; of a volume 16
    slices.

    Parameters
    ----------
    model
        Is moved to the device of `compute`; its card need not have a reference yet.
    compute
        Device and precision.
    training
        The training images, one or more, in the order of their files.
    validation
        The validation images.
    are_crops
        See `HeaderRange`; None for what the card says.

    Raises
    ------
    BadInput
        If an image cannot be read.
    """
    orientation = training_orientation(model.card.augment)
    training = [training[i] for i in _evenly(len(training), _MAX_TRAINING_IMAGES)]
    validation = [validation[i] for i in _evenly(len(validation), _MAX_VALIDATION_IMAGES)]
    facts, statistics = _read_cases(model, compute, training, orientation)
    _, validation_statistics = _read_cases(model, compute, validation, orientation)
    if are_crops is None:
        are_crops = model.card.fit is not None and model.card.fit.headers.are_crops
    headers = HeaderRange.of(facts, are_crops=are_crops)
    return FitReference.fit(headers, statistics, validation_statistics, orientation)


def scan_statistics(model: Model, compute: Compute, scan: Scan, orientation: Orientation) -> ImageStatistics:
    """The statistics of an image, or of up to 16 slices of a volume.

    Parameters
    ----------
    model, compute
        The model, which is moved to its device.
    scan
        The image, with its slices as they are.
    orientation
        Which orientations the statistics tell apart, see `LatentSums.statistics`.
    """
    model.to(compute)
    planes = model.card.preprocess.planes(scan)
    latents, sharpness = [], []
    for number in _evenly(len(planes), _SLICES_OF_VOLUME):
        image = _read_plane(model, planes, number)
        latents.append(_sum_plane(model, compute, image).statistics(orientation))
        sharpness.append(_sharpness(image))
    return ImageStatistics(np.stack(latents), np.array(sharpness))


def extend_reference(
    reference: FitReference, model: Model, compute: Compute, taught: Sequence[Case]
) -> FitReference:
    """The reference of a fine-tuned model: that of its base, with the images that it was taught.

    Their headers are added to the ranges, and the mean of their latents is one more centre to measure the
    distance from. Fine-tuning does not change how a model encodes an image.

    Parameters
    ----------
    reference
        Of the base.
    model, compute
        The fine-tuned model on its device.
    taught
        The images that it was fine-tuned on, one or more.
    """
    orientation = training_orientation(model.card.augment)
    facts, statistics = _read_cases(model, compute, taught, orientation)
    return reference.replace(
        images=reference.images + len(taught),
        headers=reference.headers.extended(HeaderRange.of(facts)),
        latents=None
        if reference.latents is None
        else reference.latents.with_centre([image.latents for image in statistics]),
    )


def _read_cases(
    model: Model, compute: Compute, cases: Iterable[Case], orientation: Orientation
) -> tuple[list[HeaderFacts], list[ImageStatistics]]:
    """The header, and the statistics of some slices, of each case."""
    facts, statistics = [], []
    for case in cases:
        scan = case.read_scan()
        facts.append(HeaderFacts.of(scan))
        statistics.append(scan_statistics(model, compute, scan, orientation))
    return facts, statistics


def _read_plane(model: Model, planes: Planes, number: int) -> NDArray[np.float32]:
    """A slice at working size, `(3, H, W)` in [0, 1]."""
    size = model.card.preprocess.working_size(*planes.full_plane_shape, planes.spacing)
    channels = planes.read_channels(number, slice(None), slice(None))
    image = resize(channels, size).clip(0, 1)
    return np.broadcast_to(image, (3, *size))


def _sum_plane(
    model: Model, compute: Compute, image: NDArray[np.float32], max_tiles: int | None = None
) -> LatentSums:
    """The latents of a slice at working size; of its tiles only some, evenly, where a number is given."""
    from napari_latentseg.engines.torch_engine import TorchEngine  # torch: not before it is needed

    engine = TorchEngine(model.method, compute)
    tiling = make_tiling(image.shape, model.card.preprocess)
    corners = tiling.corners()
    if max_tiles is not None:
        corners = [corners[i] for i in _evenly(len(corners), max_tiles)]
    sums = LatentSums(tiling.height, model.method.downsampling_factor)
    for start in range(0, len(corners), _TILES_AT_ONCE):
        batch = corners[start : start + _TILES_AT_ONCE]
        conditioning = engine.encode(np.stack([tiling.crop_tile(image, corner) for corner in batch]))
        sums.add(np.stack([engine.as_array(latents) for latents in conditioning]), batch)
    return sums


def _contrast(image: NDArray[np.float32]) -> float:
    return float(image.max() - image.min())


def _sharpness(image: NDArray[np.float32]) -> float:
    """How sharp a slice `(3, H, W)` is; see `ImageStatistics`. Only the middle of a large slice is used."""
    top, left = (max(0, (side - _SHARPNESS_SIDE) // 2) for side in image.shape[1:])
    green = image[1, top : top + _SHARPNESS_SIDE, left : left + _SHARPNESS_SIDE]
    if min(green.shape) < 8:
        return 0.0
    rows, columns = (side // 4 for side in green.shape)
    blocks = green[: 4 * rows, : 4 * columns].reshape(rows, 4, columns, 4).mean(axis=(1, 3))

    def roughness(values: NDArray[np.float32]) -> float:
        return math.sqrt(sum(float(np.square(np.diff(values, axis=axis)).mean()) for axis in (0, 1)))

    return math.log(roughness(green) / (roughness(blocks) + 1e-3) + 1e-3)


def _evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices below `count`, evenly spaced, with half a step before the first."""
    taken = min(count, wanted)
    return [int((i + 0.5) * count / taken) for i in range(taken)]

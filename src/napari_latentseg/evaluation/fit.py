"""What a model's training images were like, so that it can be told whether another image is like them.

An image is summarised by statistics of the latents that the model computes from it anyway: of each channel
the mean, the standard deviation, and how it changes from top to bottom. Over the training images these are
modelled by one Gaussian distribution with a shrunken covariance (Ledoit and Wolf, Journal of Multivariate
Analysis 88, 2004). The Mahalanobis distance from it tells how unlike an image is (Lee et al., NeurIPS 2018,
use it for the features of classifiers). A blurred image can lie nearer to the centre than a sharp one, so the
sharpness is compared by itself.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_latentseg.core.fit import Fit, FitState
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.evaluation.header_fit import HeaderRange, worst_fit

__all__ = [
    "MIN_TRAINING_IMAGES",
    "DistanceLimits",
    "FitReference",
    "ImageStatistics",
    "LatentReference",
    "Orientation",
    "SharpnessLimits",
]

Orientation = Literal["upright", "none"]
"""Whether the statistics tell an upright image from one that was turned."""

Statistics = NDArray[np.float64]

MIN_TRAINING_IMAGES = 5
"""Fewer say nothing about how much images differ."""

# 64 directions of 144 statistics tell the sets of docs/benchmarks/uncertainty.md apart as well as all of them
# do, and take 25 kB of the card in place of 55.
_MAX_DIRECTIONS = 64
_MAX_FOLDS = 10
# How rarely an image like the training images goes beyond a limit.
_UNUSUAL_CHANCE = 0.01
_FOREIGN_CHANCE = 1e-5
_BLUR_CHANCE = 0.001  # heavy blur lies far beyond, so that this limit needs not raise as many false alarms
# Of few images the second chance cannot be told: the limit would be far too high, or, where images hardly
# differ, close to the first.
_FOREIGN_RATIOS = (1.2, 1.5)
# From this many images on, the limit is also no lower than the distance that 1.5 % of them exceed: distances
# have a longer tail than the log-normal distribution.
_MIN_EMPIRICAL_IMAGES = 100
_EMPIRICAL_CHANCE = 0.015
# A volume's slices are judged together, by their median, if there are as many as this, and half of them all.
_MIN_VOLUME_SLICES = 5


@dataclass(frozen=True)
class ImageStatistics:
    """What is compared of the pixels of an image.

    Attributes
    ----------
    latents
        Statistics of the latents of its slices, or of some of them, `(slices, D)`.
    sharpness
        Of the same slices, `(slices,)`: the logarithm of how much neighbouring pixels differ, relative to
        neighbouring blocks of 4 x 4 pixels.
    """

    latents: Statistics
    sharpness: NDArray[np.float64]


class DistanceLimits(FrozenModel):
    """From which distance an image is unusual, and from which it is foreign to a model."""

    unusual: float = Field(gt=0)
    foreign: float = Field(gt=0)

    @classmethod
    def fit(cls, distances: Sequence[float] | NDArray[np.float64]) -> DistanceLimits:
        """Limits from the distances of images that the distribution was not fitted to; two or more.

        The logarithms of the distances are taken as normally distributed; a limit is what one further image
        exceeds with the chance that is asked for (the prediction limit with Student's t).
        """
        from scipy.stats import t as student_t

        logs = np.log(np.maximum(np.asarray(distances, dtype=np.float64), 1e-6))
        count = len(logs)
        spread = max(float(logs.std(ddof=1)), 0.05) * math.sqrt(1 + 1 / count)

        def limit(chance: float) -> float:
            return math.exp(float(logs.mean()) + float(student_t.ppf(1 - chance, count - 1)) * spread)

        unusual = limit(_UNUSUAL_CHANCE)
        if count >= _MIN_EMPIRICAL_IMAGES:
            unusual = max(unusual, math.exp(float(np.quantile(logs, 1 - _EMPIRICAL_CHANCE))))
        lowest, highest = (ratio * unusual for ratio in _FOREIGN_RATIOS)
        foreign = min(max(limit(_FOREIGN_CHANCE), lowest), highest)
        return cls(unusual=_rounded(unusual), foreign=_rounded(foreign))


class LatentReference(FrozenModel):
    """The distribution of the latents of the training images.

    Arrays are kept as base64, to keep the card short: float32, little-endian; `directions` as float16.

    Attributes
    ----------
    size
        How many statistics describe a slice, D: two or three for each channel of the latents.
    orientation
        Whether they tell upright images from turned ones: not where training images were turned.
    centres
        Means of the statistics, `(C, D)`: of the training images, and of those of each fine-tuning. The
        distance is that from the nearest centre.
    scale
        Standard deviations, `(D,)`.
    directions, variances
        The first principal axes of the standardised statistics, `(K, D)`, and their variances `(K,)`.
    residual_variance
        Variance along every other axis.
    slices, volumes
        Limits for the distance of a slice or an image, and for the median distance of the slices of a
        volume; None if there were no volumes.
    """

    size: int = Field(ge=1)
    orientation: Orientation = "upright"
    centres: tuple[str, ...] = Field(min_length=1)
    scale: str
    directions: str
    variances: tuple[float, ...]
    residual_variance: float = Field(gt=0)
    slices: DistanceLimits
    volumes: DistanceLimits | None = None

    @model_validator(mode="after")
    def _check_arrays(self) -> LatentReference:
        expected = (len(self.centres), self.size), (self.size,), (len(self.variances), self.size)
        if tuple(array.shape for array in self._arrays) != expected:
            raise ValueError("its arrays have other sizes than it states")
        return self

    @property
    def _arrays(self) -> tuple[Statistics, Statistics, Statistics]:
        """Centres `(C, D)`, scale `(D,)` and directions `(K, D)`."""
        centres = np.stack([_decode(text, "<f4") for text in self.centres])
        directions = _decode(self.directions, "<f2").reshape(len(self.variances), -1)
        return centres, _decode(self.scale, "<f4"), directions

    @classmethod
    def fit(
        cls,
        training: Sequence[Statistics],
        validation: Sequence[Statistics] = (),
        *,
        orientation: Orientation = "upright",
    ) -> LatentReference:
        """The distribution of the training images, with limits from images that it was not fitted to.

        These are the validation images, and the training images in turn, in up to ten parts: each part is
        compared with the distribution of the others. A part has two neighbouring files or more, since these
        may be of one patient.

        Parameters
        ----------
        training
            Statistics of the slices of each image, `(slices, D)` each; `MIN_TRAINING_IMAGES` or more images.
        validation
            The same for the validation images.
        orientation
            See the attributes.

        Raises
        ------
        ValueError
            If there are too few training images.
        """
        if len(training) < MIN_TRAINING_IMAGES:
            raise ValueError(f"{len(training)} training images, {MIN_TRAINING_IMAGES} are needed")
        per_image: list[NDArray[np.float64]] = []
        folds = np.arange(len(training)) * min(_MAX_FOLDS, len(training) // 2) // len(training)
        for fold in np.unique(folds):
            others = cls._of([s for s, f in zip(training, folds, strict=True) if f != fold], orientation)
            per_image += [others.distances(s) for s, f in zip(training, folds, strict=True) if f == fold]
        reference = cls._of(training, orientation)
        per_image += [reference.distances(s) for s in validation]
        return reference.replace(
            slices=DistanceLimits.fit(_one_of_each(per_image)),
            volumes=DistanceLimits.fit(_medians(per_image)) if _are_volumes(per_image) else None,
        )

    @classmethod
    def _of(cls, images: Sequence[Statistics], orientation: Orientation) -> LatentReference:
        """The distribution of all slices of some images, with placeholders for the limits."""
        statistics = np.concatenate(list(images)).astype(np.float64)
        centre, scale = statistics.mean(axis=0), statistics.std(axis=0) + 1e-6
        variances, directions = np.linalg.eigh(_shrunken_covariance((statistics - centre) / scale))
        count = min(_MAX_DIRECTIONS, len(variances))
        rest = variances[: len(variances) - count]
        kept = slice(None, -count - 1, -1)  # eigh gives the least variance first
        return cls(
            size=len(centre),
            orientation=orientation,
            centres=(_encode(centre, "<f4"),),
            scale=_encode(scale, "<f4"),
            directions=_encode(directions.T[kept], "<f2"),
            variances=tuple(_rounded(float(v)) for v in variances[kept]),
            residual_variance=_rounded(float(rest.mean()) if len(rest) else 1.0),
            slices=DistanceLimits(unusual=1.0, foreign=1.0),
        )

    def with_centre(self, images: Sequence[Statistics]) -> LatentReference:
        """The same distribution around one more centre: the mean of further images that were trained on.

        A few images do not tell how much their kind varies, so the covariance stays that of the others.

        Parameters
        ----------
        images
            Statistics of the slices of each image, `(slices, D)` each.
        """
        centre = np.mean([slices.mean(axis=0) for slices in images], axis=0)
        return self.replace(centres=(*self.centres, _encode(centre, "<f4")))

    def distances(self, statistics: Statistics) -> NDArray[np.float64]:
        """The distance of each slice from the training images, about 1 for a slice like them.

        It is the Mahalanobis distance from the nearest centre, divided by the root of D.

        Parameters
        ----------
        statistics
            `(slices, D)`.
        """
        centres, scale, directions = self._arrays
        z = (np.asarray(statistics, dtype=np.float64)[:, None] - centres) / scale
        along = z @ directions.T
        rest = np.maximum((z**2).sum(axis=-1) - (along**2).sum(axis=-1), 0)
        squared = (along**2 / np.array(self.variances)).sum(axis=-1) + rest / self.residual_variance
        nearest: NDArray[np.float64] = np.sqrt(squared.min(axis=1) / self.size)
        return nearest

    def check(self, statistics: Statistics, plane_count: int) -> Fit:
        """Whether an image is like the training images.

        Parameters
        ----------
        statistics
            Of one or more of its slices, `(slices, D)`.
        plane_count
            How many slices it has.
        """
        distances = self.distances(statistics)
        is_volume = self.volumes is not None and _covers_volume(len(distances), plane_count)
        limits = self.volumes if is_volume and self.volumes is not None else self.slices
        distance = float(np.median(distances))
        if distance <= limits.unusual:
            return Fit(state="fits")
        state: FitState = "unusual" if distance <= limits.foreign else "foreign"
        reason = f"it looks unlike the training images (distance {distance:.2f}, limit {limits.unusual:.2f})"
        return Fit(state=state, reasons=(reason,))


class SharpnessLimits(FrozenModel):
    """The sharpness below which an image is more blurred than the training images.

    Attributes
    ----------
    slices, volumes
        For a slice or an image, and for the median over the slices of a volume; None if there were no
        volumes.
    """

    slices: float
    volumes: float | None = None

    @classmethod
    def fit(cls, images: Sequence[NDArray[np.float64]]) -> SharpnessLimits:
        """Limits from the sharpness of the slices of each image; two images or more."""
        from scipy.stats import t as student_t

        def limit(values: list[float]) -> float:
            reach = float(student_t.ppf(1 - _BLUR_CHANCE, len(values) - 1))
            spread = float(np.std(values, ddof=1)) * math.sqrt(1 + 1 / len(values))
            return _rounded(float(np.mean(values)) - reach * spread)

        one_each = limit(_one_of_each(images))
        return cls(slices=one_each, volumes=limit(_medians(images)) if _are_volumes(images) else None)


class FitReference(FrozenModel):
    """The training images of a model, as far as it takes to compare others with them; part of the card.

    Attributes
    ----------
    images
        How many training images it describes.
    headers
        Their dimensions, colours, spacing and size.
    latents, sharpness
        Their latents and their sharpness; None for fewer than `MIN_TRAINING_IMAGES`.
    validation_images
        On how many validation images the limits rest too.
    """

    images: int = Field(ge=1)
    headers: HeaderRange
    latents: LatentReference | None = None
    sharpness: SharpnessLimits | None = None
    validation_images: int = Field(0, ge=0)

    @classmethod
    def fit(
        cls,
        headers: HeaderRange,
        training: Sequence[ImageStatistics],
        validation: Sequence[ImageStatistics],
        orientation: Orientation,
    ) -> FitReference:
        """The reference of a model.

        Parameters
        ----------
        headers
            Of the training images.
        training, validation
            Statistics of the training and of the validation images.
        orientation
            See `LatentReference`.
        """
        if len(training) < MIN_TRAINING_IMAGES:
            return cls(images=len(training), headers=headers)
        return cls(
            images=len(training),
            headers=headers,
            latents=LatentReference.fit(
                [image.latents for image in training],
                [image.latents for image in validation],
                orientation=orientation,
            ),
            sharpness=SharpnessLimits.fit([image.sharpness for image in (*training, *validation)]),
            validation_images=len(validation),
        )

    def check(self, image: ImageStatistics, plane_count: int) -> Fit | None:
        """Whether the pixels of an image are like those of the training images.

        Parameters
        ----------
        image
            Of one or more of its slices.
        plane_count
            How many slices it has.

        Returns
        -------
        Fit or None
            None where there is nothing to compare with.
        """
        if self.latents is None or image.latents.shape[1:] != (self.latents.size,):
            return None
        fit = self.latents.check(image.latents, plane_count)
        if self.sharpness is None or not len(image.sharpness):
            return fit
        is_volume = _covers_volume(len(image.sharpness), plane_count) and self.sharpness.volumes is not None
        limit = self.sharpness.volumes if is_volume else self.sharpness.slices
        assert limit is not None
        if float(np.median(image.sharpness)) >= limit:
            return fit
        return worst_fit(fit, Fit(state="unusual", reasons=("it is more blurred than the training images",)))


def _one_of_each(images: Sequence[NDArray[np.float64]]) -> list[float]:
    """The value of one slice of each image, so that a long volume counts as much as a short one."""
    rng = np.random.default_rng(0)
    return [float(rng.choice(values)) for values in images]


def _medians(images: Sequence[NDArray[np.float64]]) -> list[float]:
    return [float(np.median(values)) for values in images]


def _are_volumes(images: Sequence[NDArray[np.float64]]) -> bool:
    """Whether most of the images are volumes."""
    return sum(len(values) >= _MIN_VOLUME_SLICES for values in images) > len(images) / 2


def _covers_volume(slices: int, plane_count: int) -> bool:
    """Whether so many slices of so many are judged as a volume."""
    return slices >= _MIN_VOLUME_SLICES and 2 * slices >= plane_count


def _shrunken_covariance(z: Statistics) -> NDArray[np.float64]:
    """The covariance of rows with mean 0, shrunken towards a multiple of the identity.

    Not scikit-learn's `ledoit_wolf`: this is all that would be used of that package.
    """
    count, size = z.shape
    sample = z.T @ z / count
    mean_variance = np.trace(sample) / size
    target: NDArray[np.float64] = mean_variance * np.eye(size)
    spread = ((sample - target) ** 2).sum()
    error = (((z**2).sum(axis=1) ** 2).sum() / count - (sample**2).sum()) / count
    weight = min(max(error / spread, 0.0), 1.0) if spread > 0 else 1.0
    # a floor: statistics without any spread (one image given many times) would have no finite distance
    shrunken: NDArray[np.float64] = weight * target + (1 - weight) * sample + 1e-4 * np.eye(size)
    return shrunken


def _encode(array: NDArray[np.float64], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")


# Not a cached property of the model: pydantic compares it too, and arrays cannot be compared with ==.
@lru_cache(maxsize=32)
def _decode(text: str, dtype: str) -> Statistics:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype).astype(np.float64)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")

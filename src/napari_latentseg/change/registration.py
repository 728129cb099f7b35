"""Rigid registration of the images of two dates, by SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan, to_numpy
from napari_latentseg.core.units import MM_PER_UNIT
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.utils.progress import Progress, no_progress

__all__ = ["MIN_CORRELATION", "Registration", "check_registration_available", "register_rigidly"]

MIN_CORRELATION = 0.6
"""Below this correlation of the registered images they are not taken to show the same.

Images of hippocampi that were moved by up to 4 mm and 10 degrees, with noise, reached 0.88 or more, those of
two patients 0.60 to 0.80 (`bench/registration.py`): it finds registrations that failed, and not every other
patient.
"""

_MIN_OVERLAP = 0.3  # of the smaller image; with less, a good correlation may be chance
_MAX_SIDE = 160  # voxels: a finer image gives no better rigid transform, and takes minutes
_MIN_SIDE = 8  # voxels along each axis: with fewer there is nothing to turn
_SAMPLED = 0.25  # of the voxels, drawn anew at each level with a fixed seed
_SEED = 1
_BINS = 32
_ITERATIONS = 200  # at each level
_MAX_SHEAR = 1e-3  # cosine between two axes


@dataclass(frozen=True, eq=False)
class Registration:
    """How the world of the first image lies in that of the second.

    Attributes
    ----------
    matrix
        `(d + 1, d + 1)`, from positions in the first image's world to those in the second's, in mm, in the
        order of the arrays' axes.
    correlation
        Of both images where they overlap, in [-1, 1].
    overlap
        The part of the smaller image that they share, in [0, 1].
    """

    matrix: NDArray[np.float64]
    correlation: float
    overlap: float


def check_registration_available() -> None:
    """Refuse registration, before anything is read, where SimpleITK is not installed.

    Raises
    ------
    BadInput
        If it is not.
    """
    _simpleitk()


def register_rigidly(
    first: Scan,
    second: Scan,
    *,
    progress: Progress = no_progress,
    should_stop: Callable[[], bool] | None = None,
) -> Registration:
    """Find the rotation and shift that bring the image of the first date onto that of the second.

    Mattes' mutual information is maximised from coarse to fine, beginning with the best of three positions:
    as the headers say, centre on centre, and centre of brightness on centre of brightness.

    Parameters
    ----------
    first, second
        The images; of channels, the mean of the first three.
    progress
        Called with the fraction that is done, in [0, 1].
    should_stop
        Asked at each step; whether to give up.

    Raises
    ------
    BadInput
        If SimpleITK is missing, an image has no physical size, is too small, sheared or a time series, or the
        registered images are not alike.
    Cancelled
        If `should_stop` said so.
    """
    sitk = _simpleitk()
    for name, scan in (("first image", first), ("second image", second)):
        _check_image(name, scan)
    if first.spatial_axes != second.spatial_axes:
        raise BadInput(
            "images",
            f"have axes {first.spatial_axes} and {second.spatial_axes}",
            "give two images of the same kind",
        )
    fixed, moving = (_shrunk(sitk, _as_image(sitk, scan)) for scan in (first, second))
    transform = _best_start(
        sitk, fixed, moving, has_frames=bool(first.geometry.frame and second.geometry.frame)
    )
    method = _method(sitk, fixed)
    method.SetInitialTransform(transform, inPlace=True)
    steps = 0
    stopped = False

    def on_step() -> None:
        nonlocal steps, stopped
        steps += 1
        progress(min(0.95, steps / 150))  # most end after 50 to 150 steps
        if should_stop is not None and should_stop():
            stopped = True
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, on_step)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # ITK: all samples map outside of the moving image
        raise _not_alike() from None
    if stopped:
        raise Cancelled
    correlation, overlap = _likeness(sitk, fixed, moving, transform)
    if overlap < _MIN_OVERLAP or correlation < MIN_CORRELATION:
        raise _not_alike()
    progress(1.0)
    return Registration(_matrix(transform, fixed.GetDimension()), correlation, overlap)


def _not_alike() -> BadInput:
    return BadInput(
        "registration",
        "the two images could not be brought onto each other, so the outlines cannot be shown together",
        "compare the sizes without it, and check that both are of one patient and one part of the body",
    )


def _check_image(name: str, scan: Scan) -> None:
    axes = scan.spatial_axes
    why = remedy = ""
    if axes not in ("yx", "zyx"):
        why, remedy = f"has axes {axes}", "register single volumes or 2D images"
    elif not set(scan.geometry.units) <= MM_PER_UNIT.keys():
        why, remedy = "has no physical size", "give its spacing, or compare the sizes without registration"
    elif min(scan.spatial_shape) < _MIN_SIDE:
        why = f"has shape {scan.spatial_shape}, too few voxels to register"
        remedy = "compare the sizes without registration"
    else:
        direction = scan.geometry.direction
        if np.abs(direction.T @ direction - np.eye(len(direction))).max() > _MAX_SHEAR:
            why, remedy = "has slanted slices (gantry tilt)", "compare the sizes without registration"
    if why:
        raise BadInput(name, why, remedy)


def _as_image(sitk: Any, scan: Scan) -> Any:
    """The image as SimpleITK's, x first and in mm."""
    values = to_numpy(scan.array).astype(np.float32)
    if scan.axes.endswith(CHANNEL):
        values = values[..., :3].mean(axis=-1)
    image = sitk.GetImageFromArray(np.nan_to_num(values, posinf=0.0, neginf=0.0))
    sizes = np.array([MM_PER_UNIT[unit] for unit in scan.geometry.units])
    image.SetSpacing([float(v) for v in (np.array(scan.geometry.spacing) * sizes)[::-1]])
    image.SetOrigin([float(v) for v in (np.array(scan.geometry.origin) * sizes)[::-1]])
    image.SetDirection([float(v) for v in _orthonormal(scan.geometry)[::-1, ::-1].ravel()])
    return image


def _orthonormal(geometry: Geometry) -> NDArray[np.float64]:
    """The direction without the rounding of headers, which ITK would refuse."""
    u, _, vt = np.linalg.svd(geometry.direction)
    return np.asarray(u @ vt)


def _shrunk(sitk: Any, image: Any) -> Any:
    factors = [max(1, -(-size // _MAX_SIDE)) for size in image.GetSize()]
    return image if max(factors) == 1 else sitk.BinShrink(image, factors)


def _best_start(sitk: Any, fixed: Any, moving: Any, *, has_frames: bool) -> Any:
    """The best of several positions to begin with, by the measure that is maximised then."""
    rigid = sitk.Euler3DTransform if fixed.GetDimension() == 3 else sitk.Euler2DTransform
    kinds = sitk.CenteredTransformInitializerFilter
    starts = [
        rigid(sitk.CenteredTransformInitializer(fixed, moving, rigid(), kind))
        for kind in (kinds.GEOMETRY, kinds.MOMENTS)
    ]
    if has_frames:
        in_place = rigid(starts[0])
        in_place.SetTranslation([0.0] * fixed.GetDimension())
        starts.insert(0, in_place)
    values = []
    for start in starts:
        method = _method(sitk, fixed)
        method.SetInitialTransform(start, inPlace=True)
        try:
            values.append(method.MetricEvaluate(fixed, moving))
        except RuntimeError:  # they do not overlap there
            values.append(np.inf)
    return starts[int(np.argmin(values))]


def _method(sitk: Any, fixed: Any) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SAMPLED, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=_ITERATIONS, gradientMagnitudeTolerance=1e-7
    )
    method.SetOptimizerScalesFromPhysicalShift()
    smallest = min(fixed.GetSize())
    factors = [factor for factor in (4, 2, 1) if factor == 1 or smallest >= 16 * factor]
    method.SetShrinkFactorsPerLevel(factors)
    method.SetSmoothingSigmasPerLevel([factor / 2 if factor > 1 else 0.0 for factor in factors])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def _likeness(sitk: Any, fixed: Any, moving: Any, transform: Any) -> tuple[float, float]:
    """Correlation of the images where they overlap, and the part of the smaller one that they share."""
    inside = sitk.Resample(moving * 0 + 1, fixed, transform, sitk.sitkNearestNeighbor, 0.0, sitk.sitkFloat32)
    moved = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    is_inside = sitk.GetArrayViewFromImage(inside) > 0
    voxels = [np.prod(image.GetSpacing()) for image in (fixed, moving)]
    smaller = min(
        image.GetNumberOfPixels() * voxel for image, voxel in zip((fixed, moving), voxels, strict=True)
    )
    overlap = float(np.count_nonzero(is_inside) * voxels[0] / smaller)
    values = [sitk.GetArrayViewFromImage(image)[is_inside] for image in (fixed, moved)]
    if len(values[0]) < 2 or any(float(part.std()) == 0 for part in values):
        return 0.0, overlap
    return float(np.corrcoef(*values)[0, 1]), overlap


def _matrix(transform: Any, ndim: int) -> NDArray[np.float64]:
    """The transform as a matrix in the order of the array's axes."""
    linear = np.array(transform.GetMatrix()).reshape(ndim, ndim)
    centre, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    matrix = np.eye(ndim + 1)
    matrix[:ndim, :ndim] = linear[::-1, ::-1]
    matrix[:ndim, ndim] = (centre + shift - linear @ centre)[::-1]
    return matrix


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise BadInput(
            "registration",
            "needs SimpleITK, which is not installed",
            'pip install "napari-latentseg[readers]", or compare the sizes without it',
        ) from error
    return SimpleITK

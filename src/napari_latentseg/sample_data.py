"""Sample images: generated, or part of scikit-image; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

__all__ = ["SampleImage", "retina", "ultrasound_phantom", "ultrasound_sweep", "write_annotated_phantoms"]


@dataclass(frozen=True)
class SampleImage:
    """A scan, its name, the name of a model for it, and the true mask where it is known.

    Attributes
    ----------
    reference
        The true mask, uint8 in the scan's spatial shape, 1 in the target; None where it is not known.
    """

    name: str
    scan: Scan
    model: str
    reference: NDArray[np.uint8] | None = None


def retina() -> SampleImage:
    """The fundus photograph that comes with scikit-image: 1411 x 1411 pixels, RGB.

    Raises
    ------
    BadInput
        If it is missing from this installation of scikit-image; it is not downloaded.
    """
    import skimage
    from skimage.io import imread

    path = Path(skimage.__file__).parent / "data" / "retina.jpg"
    if not path.is_file():  # data.retina() would download it
        raise BadInput("retina.jpg", "is not in this scikit-image", "install scikit-image from its wheel")
    array = np.asarray(imread(path))
    pixels = np.ascontiguousarray(array[..., :3])
    scan = Scan(pixels, "yxc", Geometry.from_spacing("yx"), modality="fundus photograph")
    return SampleImage("retina", scan, "retina-vessels")


def ultrasound_phantom(seed: int = 7, shape: tuple[int, int] = (256, 320)) -> SampleImage:
    """A synthetic breast ultrasound image with one dark lesion whose outline is known.

    Skin line, layers of fat and gland, speckle (Rayleigh), attenuation with depth, a hypoechoic lesion with a
    lobulated outline, and the bright band behind it. Spacing 0.15 mm.

    Parameters
    ----------
    seed
        Seed of the random generator that draws tissue, lesion and speckle.
    shape
        Rows and columns.
    """
    pixels, lesion = _render_ultrasound(np.random.default_rng(seed), None, shape, 1.0)
    scan = Scan(pixels, "yx", Geometry.from_spacing("yx", (0.15, 0.15), "mm"), modality="US")
    return SampleImage("ultrasound phantom", scan, "breast-ultrasound", lesion)


def ultrasound_sweep(seed: int = 7, shape: tuple[int, int, int] = (24, 192, 240)) -> SampleImage:
    """A synthetic sweep over the lesion of `ultrasound_phantom`: a volume in which it grows and shrinks.

    The tissue is the same in all slices, the speckle is not. Spacing 1.2 mm between slices, 0.2 mm in them.

    Parameters
    ----------
    seed
        Seed of the random generator that draws tissue, lesion and speckle.
    shape
        Slices, rows and columns.
    """
    pixels = np.zeros(shape, dtype=np.uint8)
    reference = np.zeros(shape, dtype=np.uint8)
    for slice_index in range(shape[0]):
        offset = (slice_index + 0.5 - shape[0] / 2) / (0.36 * shape[0])
        relative_radius = float(np.sqrt(max(0.0, 1 - offset**2)))
        speckle_rng = np.random.default_rng((seed, slice_index))
        pixels[slice_index], reference[slice_index] = _render_ultrasound(
            np.random.default_rng(seed), speckle_rng, shape[1:], relative_radius
        )
    scan = Scan(pixels, "zyx", Geometry.from_spacing("zyx", (1.2, 0.2, 0.2), "mm"), modality="US")
    return SampleImage("ultrasound sweep", scan, "breast-ultrasound", reference)


def write_annotated_phantoms(
    folder: str | Path, count: int = 4, *, shape: tuple[int, int] = (128, 160)
) -> Path:
    """Write a small data set: images of `ultrasound_phantom` with the masks of their lesions.

    Parameters
    ----------
    folder
        `images/phantom_0.png` and so on, and masks of the same names in `masks/`, are written into it.
    count
        How many images, with the seeds from 0.
    shape
        Rows and columns.

    Returns
    -------
    Path
        The folder, for `train`, `finetune`, `evaluate` and `calibrate`.

    Examples
    --------
    >>> folder = write_annotated_phantoms("phantoms", 2)
    >>> sorted(path.name for path in (folder / "masks").iterdir())
    ['phantom_0.png', 'phantom_1.png']
    """
    from PIL import Image

    folder = Path(folder)
    for seed in range(count):
        sample = ultrasound_phantom(seed, shape)
        for part, pixels in (("images", sample.scan.array), ("masks", sample.reference)):
            path = folder / part / f"phantom_{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(pixels)).save(path)
    return folder


def _render_ultrasound(
    rng: np.random.Generator,
    speckle_rng: np.random.Generator | None,
    shape: tuple[int, int],
    relative_radius: float,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One image and its lesion mask; `relative_radius` scales the lesion, 0 removes it."""
    from scipy import ndimage

    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    depth, lateral = rows / shape[0], columns / shape[1]

    def texture(height: float, width: float) -> NDArray[np.float64]:
        field = ndimage.gaussian_filter(rng.standard_normal(shape), (height, width))
        return np.asarray(field / field.std())

    def layer(layer_depth: NDArray[np.float64], thickness: float) -> NDArray[np.float64]:
        return np.asarray(np.exp(-(((depth - layer_depth) / thickness) ** 2)))

    echo = 0.30 + 0.05 * texture(5, 18) + 0.04 * texture(2, 8)
    echo += 0.22 * layer(0.20 + 0.03 * np.sin(6 * lateral + 1), 0.018)
    echo += 0.16 * layer(0.82 - 0.02 * np.cos(5 * lateral), 0.03)
    echo[depth > 0.86] *= 0.6
    echo[depth < 0.035] = 0.75
    centre = (0.50 * shape[0], (0.42 + 0.16 * rng.random()) * shape[1])
    angle = np.arctan2(rows - centre[0], columns - centre[1])
    distance = np.hypot(rows - centre[0], (columns - centre[1]) / 1.5)
    radius = relative_radius * 0.15 * shape[0] * (1 + 0.07 * np.sin(3 * angle + 1) + 0.04 * np.sin(5 * angle))
    lesion = distance < radius
    lesion_weight = 1 / (1 + np.exp((distance - radius) / 1.5)) if relative_radius else np.zeros(shape)
    echo = echo * (1 - lesion_weight) + (0.07 + 0.01 * texture(2, 4)) * lesion_weight
    enhancement = (
        (np.abs(columns - centre[1]) < relative_radius * 0.17 * shape[0]) & (rows > centre[0]) & ~lesion
    )
    echo *= 1 + 0.5 * ndimage.gaussian_filter(enhancement * 1.0, 7)
    echo *= np.exp(-1.2 * depth)
    noise_rng = speckle_rng or rng
    # grain and contrast of the speckle, and the blur and noise below, are as in BUSI, so that the model
    # does not find the sample odd; chosen by its distance from the training images
    speckle = np.hypot(*ndimage.gaussian_filter(noise_rng.standard_normal((2, *shape)), (0, 1.0, 3.0)))
    image = np.clip(echo, 0.01, None) * (speckle / speckle.mean()) ** 0.45
    floor = 0.008  # log compression, as on the machine's screen
    displayed = np.clip(np.log10(image / floor) / np.log10(1 / floor), 0, 1) ** 1.6
    displayed = ndimage.gaussian_filter(displayed, 0.7) + 0.015 * noise_rng.standard_normal(shape)
    return np.clip(255 * displayed, 0, 255).astype(np.uint8), lesion.astype(np.uint8)

"""Images to try the plugin on, made here or carried by a dependency; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.scan import Geometry, Scan

__all__ = ["Sample", "retina", "ultrasound_phantom"]


@dataclass(frozen=True)
class Sample:
    """A scan, a name for it, the model that fits, and the truth where it is known.

    Attributes
    ----------
    truth
        uint8 in the scan's spatial shape, 1 where the target is; None where nobody knows.
    """

    name: str
    scan: Scan
    model: str
    truth: NDArray[np.uint8] | None = None


def retina() -> Sample:
    """The fundus photograph that scikit-image carries: 1411 x 1411 RGB."""
    import skimage
    from skimage.io import imread

    # data.retina() would look for it on the network where the file is not in the installation
    path = Path(skimage.__file__).parent / "data" / "retina.jpg"
    array = np.asarray(imread(path) if path.is_file() else skimage.data.retina())  # type: ignore[no-untyped-call]
    pixels = np.ascontiguousarray(array[..., :3])
    scan = Scan(pixels, "yxc", Geometry.plain("yx"), modality="fundus photograph")
    return Sample("retina", scan, "retina-vessels")


def ultrasound_phantom(seed: int = 7, shape: tuple[int, int] = (256, 320)) -> Sample:
    """A made breast ultrasound image with one dark lesion whose outline is known.

    Skin line, layers of fat and gland, speckle (Rayleigh), attenuation with depth, a hypoechoic lesion with a
    lobulated outline, and the bright band behind it. Spacing 0.15 mm.

    Parameters
    ----------
    seed
        Draws everything.
    shape
        Rows and columns.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    depth, across = rows / shape[0], columns / shape[1]
    tissue = 0.42 + 0.10 * ndimage.gaussian_filter(rng.standard_normal(shape), (6, 24)) / 0.04 * 0.25
    tissue += 0.16 * np.exp(-(((depth - 0.22 - 0.03 * np.sin(5 * across)) / 0.03) ** 2))
    tissue += 0.10 * np.exp(-(((depth - 0.78 + 0.02 * np.cos(4 * across)) / 0.04) ** 2))
    tissue[depth < 0.03] = 0.85
    centre = (0.47 * shape[0], (0.42 + 0.16 * rng.random()) * shape[1])
    angle = np.arctan2(rows - centre[0], columns - centre[1])
    reach = np.hypot((rows - centre[0]) / 1.0, (columns - centre[1]) / 1.45)
    lobes = 1 + 0.07 * np.sin(3 * angle + 1) + 0.04 * np.sin(5 * angle)
    radius = 0.15 * shape[0] * lobes
    lesion = reach < radius
    edge = 1 / (1 + np.exp((reach - radius) / 2.0))
    behind = (np.abs(columns - centre[1]) < 0.19 * shape[0]) & (rows > centre[0])
    echo = tissue * (1 - 0.78 * edge) * (1 + 0.35 * ndimage.gaussian_filter((behind & ~lesion) * 1.0, 8))
    echo *= np.exp(-0.7 * depth)
    speckle = np.hypot(*ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 0.8, 1.6)))
    image = np.clip(echo * speckle / speckle.mean(), 0, None)
    shown = np.log1p(8 * image) / np.log1p(8.0)  # log compression, as on the machine's screen
    pixels = np.clip(255 * shown, 0, 255).astype(np.uint8)
    scan = Scan(pixels, "yx", Geometry.plain("yx", (0.15, 0.15), "mm"), modality="US")
    return Sample("ultrasound phantom", scan, "breast-ultrasound", lesion.astype(np.uint8))

"""A made CT set of abdomens: organs as ellipsoids in Hounsfield units, a table, spacings that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CT_CONFIG", "CT_WINDOW", "ORGANS", "made_ct", "write_ct_set"]

# name, Hounsfield units, centre and half axes in fractions of the body (z, y, x); the patient's left is at
# high x. The order is that of BTCV's labels.
ORGANS: tuple[tuple[str, float, tuple[float, float, float], tuple[float, float, float]], ...] = (
    ("spleen", 115, (0.65, 0.60, 0.78), (0.13, 0.10, 0.08)),
    ("right kidney", 170, (0.40, 0.65, 0.30), (0.14, 0.08, 0.07)),
    ("left kidney", 170, (0.43, 0.65, 0.70), (0.14, 0.08, 0.07)),
    ("gallbladder", 12, (0.52, 0.35, 0.38), (0.06, 0.05, 0.04)),
    ("oesophagus", 40, (0.90, 0.58, 0.52), (0.12, 0.03, 0.03)),
    ("liver", 105, (0.66, 0.45, 0.30), (0.20, 0.22, 0.18)),
    ("stomach", 35, (0.64, 0.38, 0.64), (0.12, 0.12, 0.12)),
    ("aorta", 230, (0.50, 0.62, 0.54), (0.60, 0.035, 0.035)),
    ("postcava", 150, (0.50, 0.60, 0.46), (0.60, 0.035, 0.035)),
    ("portal and splenic vein", 165, (0.55, 0.52, 0.50), (0.03, 0.03, 0.12)),
    ("pancreas", 85, (0.50, 0.50, 0.55), (0.05, 0.05, 0.13)),
    ("right adrenal gland", 60, (0.57, 0.58, 0.38), (0.04, 0.03, 0.02)),
    ("left adrenal gland", 60, (0.57, 0.58, 0.63), (0.04, 0.03, 0.02)),
)
_AIR, _FAT, _MUSCLE, _BONE, _TABLE = -1000.0, -100.0, 45.0, 600.0, -250.0

CT_WINDOW = (-175.0, 250.0)
CT_CONFIG: dict[str, Any] = {
    "method": "guided",
    "codec": None,
    "settings": {"classes": 13},
    "preprocess": {
        "mode": "tiles", "size": 64, "long_side": 64, "overlap": 8, "spacing": 6.0, "window": CT_WINDOW,
    },
    "split": {"fraction": 0.3},
    "batch_size": 4,
    "classes": [
        {"name": name, "color": "#123456", "includes": ["gallbladder"] if name == "liver" else []}
        for name, *_ in ORGANS
    ],
}  # fmt: skip


def made_ct(
    rng: np.random.Generator, shape: tuple[int, int, int]
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A CT volume in HU `(z, y, x)` and its labels, 1 for the first of `ORGANS`.

    The body is one quarter to one half of the image, with ribs of fat, muscle, a spine, and a table below.
    """
    z, y, x = (np.linspace(0, 1, n)[(slice(None), *[None] * (2 - i))] for i, n in enumerate(shape))
    volume = np.full(shape, _AIR, np.float32)
    labels = np.zeros(shape, np.uint8)
    height, width = rng.uniform(0.5, 0.7), rng.uniform(0.7, 0.9)
    middle_y, middle_x = 0.45 + rng.uniform(-0.03, 0.03), 0.5 + rng.uniform(-0.03, 0.03)

    def ellipse(scale: float) -> NDArray[np.bool_]:
        return ((y - middle_y) / (scale * height / 2)) ** 2 + ((x - middle_x) / (scale * width / 2)) ** 2 < 1

    volume += np.zeros(shape, np.float32)
    volume[np.broadcast_to(ellipse(1.0), shape)] = _FAT
    volume[np.broadcast_to(ellipse(0.9), shape)] = _MUSCLE
    volume[np.broadcast_to(ellipse(0.8), shape)] = _FAT + 40
    spine = ((y - middle_y - 0.3 * height) / 0.06) ** 2 + ((x - middle_x) / 0.06) ** 2 < 1
    volume[np.broadcast_to(spine, shape)] = _BONE
    for number, (_, value, centre, axes) in enumerate(ORGANS, start=1):
        cz, cy, cx = np.array(centre) + rng.normal(0, 0.01, 3)
        az, ay, ax = np.array(axes) * rng.uniform(0.85, 1.15, 3)
        inside_y = middle_y + (cy - 0.5) * height
        inside_x = middle_x + (cx - 0.5) * width
        distance = (
            ((z - cz) / az) ** 2
            + ((y - inside_y) / (ay * height)) ** 2
            + ((x - inside_x) / (ax * width)) ** 2
        )
        organ = (distance < 1) & (labels == 0)
        volume[organ] = value + rng.normal(0, 8)
        labels[organ] = number
    volume[:, round(0.9 * shape[1]) : round(0.93 * shape[1]), shape[2] // 8 : -shape[2] // 8] = _TABLE
    volume += rng.normal(0, 12, shape)
    return volume.round().astype(np.int16), labels


def write_ct_set(
    folder: Path,
    count: int,
    *,
    side: tuple[int, int] = (480, 513),
    slices: tuple[int, int] = (40, 61),
    seed: int = 0,
) -> Path:
    """Write volumes as `images/` and `masks/` in NIfTI, with LPS geometry and the labels of BTCV.

    Parameters
    ----------
    folder
        Is made; call it `btcv` to have its labels known to `guided-abdomen`.
    count
        How many volumes.
    side, slices
        Ranges, half-open, of the rows and columns of a slice, and of the number of slices.
    seed
        Of everything.
    """
    import nibabel as nib

    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        length = int(rng.integers(*side))
        shape = (int(rng.integers(*slices)), length, length)
        volume, labels = made_ct(rng, shape)
        pixel, step = rng.uniform(0.6, 0.9) * 512 / length, rng.choice([1.0, 2.5, 5.0])
        affine = np.diag([-pixel, -pixel, step, 1.0])
        for part, values in (("images", volume), ("masks", labels)):
            nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), affine), folder / part / f"ct{number}.nii.gz")
    return folder

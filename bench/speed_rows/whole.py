"""All of `segment`, from an array to a result, against one pass of a U-Net that gives one answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg import Geometry, Scan, segment
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model
from napari_latentseg.sample_data import ultrasound_phantom
from speed_rows.measure import Settings, in_seconds, interleave, ratios
from speed_rows.section import Row, Section

TEXT = """\
From an array in memory to mask, mean, variance and sizes; the model is loaded, float32. Beside: one
float32 pass in torch of MONAI's `BasicUNet(2, 3, 1, (42, 84, 168, 336, 672, 42))` (13.4 M parameters)
on one image of 224 x 224, which gives one answer without an uncertainty."""

FEATURES = (42, 84, 168, 336, 672, 42)


def basic_unet() -> torch.nn.Module:
    network = BasicUNet(2, 3, 1, FEATURES).eval()
    parameters = sum(p.numel() for p in network.parameters())
    assert round(parameters / 1e6, 1) == 13.4, f"{parameters} parameters"
    return network


def unet_pass(network: torch.nn.Module, image: torch.Tensor) -> None:
    with torch.inference_mode():
        network(image)


def photograph(seed: int = 0) -> Scan:
    """A drawn ultrasound image as large as those of busi usually are."""
    pixels = np.asarray(ultrasound_phantom(seed).scan.array)
    larger = ndimage.zoom(pixels, [500 / pixels.shape[0], 625 / pixels.shape[1], *[1] * (pixels.ndim - 2)])
    axes = "yxc" if pixels.ndim == 3 else "yx"
    return Scan(larger, axes, Geometry.from_spacing("yx", (0.1, 0.1), "mm"))


def hippocampus_volume(seed: int = 0) -> NDArray[np.float32]:
    """A made volume as large as those of the data set."""
    volume = np.random.default_rng(seed).gamma(2.0, 40.0, (35, 51, 35)).astype(np.float32)
    volume[10:26, 15:35, 8:26] *= 0.4
    return volume


def hippocampus_scan(seed: int = 0) -> Scan:
    """The same with its spacing."""
    return Scan(hippocampus_volume(seed), "zyx", Geometry.from_spacing("zyx", (1.0, 1.0, 1.0), "mm"))


class SegmentNew:
    """Each call segments another image, since an engine remembers what it has encoded.

    Parameters
    ----------
    model
        The loaded model.
    make
        Makes an image from a seed; all of them are made at once, before anything is timed.
    count
        How many calls there will be.
    settings
        Arguments of `segment`.
    """

    def __init__(self, model: Model, make: Callable[[int], Scan], count: int, **settings: Any) -> None:
        self._model = model
        self._settings = settings
        self._scans = [make(seed) for seed in range(count)]

    def __call__(self) -> None:
        segment(self._scans.pop(), self._model, precision="float32", **self._settings)


def rows(settings: Settings, device: str = "cpu") -> tuple[Row, ...]:
    """The two rows, on a device."""
    network = basic_unet().to(device)
    image = torch.rand(1, 3, 224, 224, device=device)
    count = settings.repeats + 1
    breast, hippocampus = load_model("breast-ultrasound"), load_model("hippocampus-mr")
    times = interleave(
        {
            "unet": partial(unet_pass, network, image),
            "image": SegmentNew(breast, photograph, count, samples=5, device=device),
            "volume": SegmentNew(hippocampus, hippocampus_scan, count, samples=8, device=device),
        },
        settings.repeats,
    )
    beside = f"U-Net {in_seconds(times['unet'])}"
    return (
        Row(
            "breast-ultrasound, an image of 500 x 625, n = 5", in_seconds(times["image"]), beside,
            ratios(times["image"], times["unet"]), "<= 0.8",
        ),
        Row(
            "hippocampus-mr, a volume of 35 x 51 x 35, n = 8", in_seconds(times["volume"]), beside,
            ratios(times["volume"], times["unet"]), "<= 5",
        ),
    )  # fmt: skip


def measure(settings: Settings) -> Section:
    return Section("whole", "From array to result", TEXT, rows(settings))

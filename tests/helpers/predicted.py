"""Pictures, and what a tiny model predicts of them."""

from __future__ import annotations

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.inference.predictor import Predictor, Run, RunProgress
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model

TURNED = Geometry.from_matrix(
    [[0, 2.5, 0, -30], [0.4, 0, 0.1, 12], [0, 0, -0.7, 5], [0, 0, 0, 1]], ("mm",) * 3, ("z", "y", "x"), "LPS"
)


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    """Smooth enough to be an image, and nowhere the same."""
    rng = np.random.default_rng(seed)
    values = rng.random(shape)
    for axis in range(2):
        values = (values + np.roll(values, 1, axis)) / 2
    return (255 * values).astype(np.uint8)


def scan_of(array: np.ndarray, axes: str = "", geometry: Geometry | None = None, **more: object) -> Scan:
    axes = axes or {2: "yx", 3: "yxc"}[array.ndim]
    return Scan(array, axes, geometry or Geometry.from_spacing(axes.removesuffix("c")), **more)


def predicted(model: Model, scan: Scan, precision: str = "float32", **asked: object) -> Segmentation:
    request = InferenceSettings.for_model(model.card, precision=precision, **asked)
    return Predictor(model, "cpu", precision).segment(scan, request)


def started(model: Model, scan: Scan, **asked: object) -> Run:
    return Predictor(model, "cpu", "float32").start(scan, InferenceSettings.for_model(model.card, **asked))


def stopped(run: Run, at: tuple[int, int]) -> RunProgress:
    """Let it run until this sample of this plane is finished."""
    for step in run:
        if step.is_sample_complete and (step.plane, step.sample) == at:
            return step
    raise AssertionError("the run never came there")


def same(one: Segmentation, other: Segmentation) -> bool:
    """But for rounding: networks round differently in batches of another size."""
    return (
        np.mean(one.mask != other.mask) < 1e-3
        and one.volumes.shape == other.volumes.shape
        and np.allclose(one.volumes, other.volumes, rtol=0.01)
        and np.allclose(one.mean, other.mean, atol=1e-5)
        and (one.variance is None) == (other.variance is None)
        and (one.variance is None or np.allclose(one.variance, other.variance, atol=1e-5))
    )

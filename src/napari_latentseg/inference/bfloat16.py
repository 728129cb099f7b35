"""Measuring whether a model gives the same masks in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bfloat16_check import Bfloat16Accumulator, Bfloat16Check
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.segment_each import segment_each
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.utils.device import has_native_bfloat16

__all__ = ["Bfloat16Comparison"]

_MAX_IMAGES = 20
_MAX_KEPT_BYTES = 256 * 2**20  # scans, masks and means in float32, until they are compared


class Bfloat16Comparison:
    """Compares results in bfloat16 with those in float32, on the first images of a calibration.

    Parameters
    ----------
    predictor
        The model, in float32.
    settings
        Of the results.

    Attributes
    ----------
    is_possible
        Whether the predictor computes in float32, on hardware that multiplies bfloat16 natively: elsewhere
        bfloat16 is slower, so nobody needs to know.
    """

    def __init__(self, predictor: Predictor, settings: InferenceSettings) -> None:
        compute = predictor.compute
        self.is_possible = compute.precision == "float32" and has_native_bfloat16(compute.device)
        self._predictor = predictor
        self._settings = settings
        self._accumulator = Bfloat16Accumulator()
        self._kept: list[tuple[Scan, Segmentation]] = []
        self._kept_bytes = 0
        self._engine = compute.engine

    @property
    def takes_more(self) -> bool:
        """Whether another result would be kept, if there is room for it."""
        return self.is_possible and len(self._kept) < _MAX_IMAGES

    def image_count(self, case_count: int) -> int:
        """How many of the given number of images are compared, at most."""
        return min(case_count, _MAX_IMAGES) if self.is_possible else 0

    def keep(self, scan: Scan, segmentation: Segmentation) -> None:
        """Keep a result in float32 to compare with, where it is wanted and there is room for it."""
        size = int(scan.array.nbytes + segmentation.mask.nbytes + segmentation.mean.nbytes)
        if self.takes_more and self._kept_bytes + size <= _MAX_KEPT_BYTES:
            self._kept.append((scan, replace(segmentation, variance=None)))
            self._kept_bytes += size

    def run(self) -> Iterator[None]:
        """Segment the images in bfloat16 and compare, up to the first whose mask changes too much.

        Yields
        ------
        None
            After each image.
        """
        if not self._kept:
            return
        compute = self._predictor.compute
        predictor = Predictor(self._predictor.model, compute.device, "bfloat16")
        scans = ((segmentation, scan) for scan, segmentation in self._kept)
        for expected, result in segment_each(predictor, scans, self._settings):
            if isinstance(result, BadInput):  # such as values that are not finite
                self._accumulator.add_failure()
            else:
                self._engine = result.record.engine
                self._accumulator.add(expected.mask, expected.mean, result.mask, result.mean)
            yield
            if self._accumulator.has_failed:
                break

    def check(self) -> Bfloat16Check | None:
        """What was measured; None where nothing was compared."""
        device = self._predictor.compute.device.partition(":")[0]
        return self._accumulator.check(self._settings.samples, self._settings.source, device, self._engine)

"""From a scan to a segmentation: a model on its device, and the runs of it."""

from __future__ import annotations

import torch

from napari_latentseg.inference.request import Request
from napari_latentseg.inference.run import Run, Step
from napari_latentseg.models.folder import Model
from napari_latentseg.precision import choose_compute
from napari_latentseg.scan import Scan
from napari_latentseg.segmentation import Segmentation

__all__ = ["Predictor", "Run", "Step"]


class Predictor:
    """Runs a model on scans.

    Parameters
    ----------
    model
        What to run.
    device, precision
        See `choose_compute`.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "auto") -> None:
        self.model = model
        self.compute = choose_compute(device, precision)
        self.move()

    def move(self) -> None:
        """Bring the model to its device: its codec is shared, and another may have taken that elsewhere."""
        for method in self.model.members:
            method.to(self.compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    def start(self, scan: Scan, request: Request) -> Run:
        """A run that has not begun; iterate over it to do the work."""
        return Run(self, scan, request)

    def segment(self, scan: Scan, request: Request) -> Segmentation:
        """Do a whole run at once."""
        run = self.start(scan, request)
        for _ in run:
            pass
        found = run.result()
        assert found is not None  # a run that was not stopped has every sample
        return found

"""From a scan to a segmentation: a model on its device, and the runs of it."""

from __future__ import annotations

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
        model.to(self.compute)

    def start(self, scan: Scan, request: Request, plane: str = "acquired") -> Run:
        """A run that has not begun; iterate over it to do the work.

        Parameters
        ----------
        scan, request
            On what, and how.
        plane
            Which planes of a volume are worked on: see `napari_latentseg.views.seen_along`. The result lies
            as the scan does.
        """
        return Run(self.model, self.compute, scan, request, plane)

    def segment(self, scan: Scan, request: Request) -> Segmentation:
        """Do a whole run at once."""
        run = self.start(scan, request)
        for _ in run:
            pass
        result = run.result()
        assert result is not None  # a run that was not stopped has every sample
        return result

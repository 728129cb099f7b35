"""From a scan to a segmentation: a model on its device, and the runs of it."""

from __future__ import annotations

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.inference.run import Run, RunProgress
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import resolve_compute

__all__ = ["Predictor", "Run", "RunProgress"]


class Predictor:
    """Runs a model on scans.

    Parameters
    ----------
    model
        What to run.
    device, precision
        See `resolve_compute`.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "auto") -> None:
        self.model = model
        self.compute = resolve_compute(device, precision)
        model.to(self.compute)

    def start(self, scan: Scan, settings: InferenceSettings, plane: str = "acquired") -> Run:
        """A run that has not begun; iterate over it to do the work.

        Parameters
        ----------
        scan, settings
            On what, and how.
        plane
            Which planes of a volume are worked on: see `napari_latentseg.core.reorient.reorient`. The result lies
            as the scan does.
        """
        return Run(self.model, self.compute, scan, settings, plane)

    def segment(self, scan: Scan, settings: InferenceSettings) -> Segmentation:
        """Do a whole run at once."""
        run = self.start(scan, settings)
        for _ in run:
            pass
        result = run.result()
        assert result is not None  # a run that was not stopped has every sample
        return result

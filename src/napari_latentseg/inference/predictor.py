"""A model on its device, ready to segment scans."""

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
        The model; its weights are moved to the device.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``, see `resolve_compute`.
    precision
        Floating point type of the network's arithmetic, see `resolve_compute`; ``"auto"`` is bfloat16 only
        where the model's card allows it.

    Raises
    ------
    BadInput
        If the device or the precision is not available on this machine.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "auto") -> None:
        self.model = model
        self.compute = resolve_compute(device, precision, is_bfloat16_allowed=model.card.allows_bfloat16)
        model.to(self.compute)

    def start(self, scan: Scan, settings: InferenceSettings, plane: str = "acquired") -> Run:
        """Start a run: nothing is computed before you iterate over it.

        Parameters
        ----------
        scan
            The image to segment: a single plane, a volume, or either over time.
        settings
            Samples, threshold, slices, crop box.
        plane
            Which planes of a volume the model sees: ``"acquired"``, ``"axial"``, ``"coronal"`` or
            ``"sagittal"``; see `napari_latentseg.core.reorient.reorient`. The result has the orientation of
            the scan in any case.

        Returns
        -------
        Run
            Iterate over it to compute; `Run.result` gives the segmentation.

        Raises
        ------
        BadInput
            If the scan has no such plane, slices or crop box, or is too small or too large for the settings.
        """
        return Run(self.model, self.compute, scan, settings, plane)

    def segment(self, scan: Scan, settings: InferenceSettings) -> Segmentation:
        """Segment a scan from start to end.

        Parameters
        ----------
        scan, settings
            As for `start`.

        Returns
        -------
        Segmentation
            With all samples that `settings` asks for.

        Raises
        ------
        BadInput
            As for `start`.
        """
        return self.start(scan, settings).finish()

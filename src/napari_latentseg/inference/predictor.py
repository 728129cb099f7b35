"""A model on its device, ready to segment scans."""

from __future__ import annotations

from dataclasses import replace

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.engines.choose import open_engines
from napari_latentseg.inference.run import Run, RunProgress
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tile_sizes import tile_sizes
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import resolve_compute, resolve_engine

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
    engine
        What computes the networks, see `resolve_engine`.
    may_compile
        Whether a model that OpenVINO has not compiled on this machine is compiled before the first run, which
        takes some seconds; otherwise torch computes it.

    Raises
    ------
    BadInput
        If the device, the precision or the engine is not available on this machine.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
        *,
        may_compile: bool = True,
    ) -> None:
        self.model = model
        compute = resolve_compute(device, precision, is_bfloat16_allowed=model.card.allows_bfloat16)
        self.compute = replace(compute, engine=resolve_engine(engine, compute.device, compute.precision))
        self._may_compile = may_compile
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
        model = self.model
        sizes = tile_sizes(model.card, settings, model.method.size_multiple)
        engines, refusal = open_engines(model, self.compute, sizes, may_compile=self._may_compile)
        compute = replace(self.compute, engine=engines[0].name)
        run = Run(model, engines, compute, scan, settings, plane)
        if refusal:
            run.state.notes.append(f"computed by torch, since OpenVINO refuses this model ({refusal})")
        return run

    def compile(self) -> str:
        """Compile the model for all its sampling sources; why that is not possible, or nothing.

        What was compiled is kept on the disk for later runs, in this process or another.
        """
        card = self.model.card
        sizes = {
            size
            for source in card.sources
            for size in tile_sizes(
                card, InferenceSettings.for_model(card, source=source), self.model.method.size_multiple
            )
        }
        _, refusal = open_engines(self.model, self.compute, sorted(sizes))
        return refusal

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

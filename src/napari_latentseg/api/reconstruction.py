"""How well a model's autoencoders reconstruct annotated images and their masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.chosen_model import load_chosen_model, locate_chosen_model
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.data.label_names import LabelsOption
    from napari_latentseg.evaluation.report import ReconstructionReport
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["evaluate_reconstruction"]


def evaluate_reconstruction(
    model: Model | LocatedModel | str | Path,
    data: str | Path,
    *,
    device: str = "auto",
    precision: str = "float32",
    subset: str = "all",
    split: str | Path | Sequence[str | Path] | None = None,
    labels: LabelsOption | None = None,
    codec: str | Path | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> ReconstructionReport:
    """Score what a model's autoencoders make of images and masks: PSNR, SSIM, and Dice of decoded masks.

    Nothing is predicted: images and reference masks are encoded and decoded, at the size that the model works
    at. MedSegLatDiff's Table I has these figures. Of a model with a codec it is the codec's reconstruction.

    Parameters
    ----------
    model
        A loaded model, or the name or folder of one.
    data, device, precision, subset, split, labels, codec
        As for `evaluate`.
    on_note
        Called with a sentence on what was passed over in the folder.
    progress
        Called with the fraction done, in [0, 1].

    Returns
    -------
    ReconstructionReport
        The means over slices and masks. An image that cannot be used is in `left_out` with the reason.

    Raises
    ------
    BadInput
        If there is no such model or data, no image can be used, or a setting is not possible.

    Examples
    --------
    >>> from napari_latentseg import evaluate_reconstruction
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> report = evaluate_reconstruction("breast-ultrasound", write_annotated_phantoms("phantoms", 2))
    >>> report.image_psnr > 20
    True
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.api.annotated_images import annotated_images
    from napari_latentseg.utils.device import check_device_and_precision

    located_model = locate_chosen_model(model)
    check_device_and_precision(device, precision)
    _, cases, _ = annotated_images(
        located_model, data, subset, "give the data it was trained on", labels, on_note, split
    )

    from napari_latentseg.inference.predictor import Predictor
    from napari_latentseg.inference.reconstruction import ReconstructionEvaluation

    evaluation = ReconstructionEvaluation(
        Predictor(load_chosen_model(located_model, codec), device, precision, "torch"), cases
    )
    for fraction in evaluation.run():
        progress(fraction)
    return evaluation.report()

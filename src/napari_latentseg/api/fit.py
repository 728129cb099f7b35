"""Whether a model was made for an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.chosen_model import load_chosen_model, locate_chosen_model
from napari_latentseg.api.images import ImageLike, open_image

if TYPE_CHECKING:
    from napari_latentseg.core.fit import Fit
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["check_fit"]


def check_fit(
    scan: ImageLike,
    model: Model | LocatedModel | str | Path,
    *,
    plane: str = "acquired",
    pixels: bool = True,
    device: str = "auto",
    codec: str | Path | None = None,
) -> Fit | None:
    """Whether a model was made for an image.

    Modality, dimensions, grey or colour, spacing and size are compared with the training images, and so are
    the latents of a few slices. A run checks all slices, at no further cost, and puts the verdict into its
    record. A model runs on any image; where the verdict is not ``"fits"``, its measured accuracy and its
    calibrated intervals do not hold.

    Parameters
    ----------
    scan
        An image of any kind, as for `segment`.
    model
        A model, or the name or folder of one.
    plane
        The orientation of the slices, as for `segment`.
    pixels
        Whether the latents are compared too; without, no model is loaded, and nothing is read but the header.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    codec
        The model's codec, where it is not kept on this machine: a folder or file, or the name of a kept one.

    Returns
    -------
    Fit or None
        None where it is not known: the card does not describe the training images, and the modality does not
        tell them apart.

    Raises
    ------
    BadInput
        If there is no such model, scan or device, or the scan has no such slices.

    Examples
    --------
    >>> from napari_latentseg import check_fit
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> fit = check_fit(ultrasound_phantom().scan, "hippocampus-mr", pixels=False)
    >>> fit.reasons[0]
    'the image is US, not MR'
    """
    from napari_latentseg.core.reorient import reorient
    from napari_latentseg.evaluation.header_fit import header_fit

    located_model = locate_chosen_model(model)
    input_scan = open_image(scan)
    oriented, _ = reorient(input_scan, plane)
    if not pixels:
        card = located_model.card
        return header_fit(oriented, card.modality, card.fit.headers if card.fit is not None else None)

    from napari_latentseg.inference.fit import check_scan
    from napari_latentseg.utils.device import resolve_compute

    compute = resolve_compute(device)
    return check_scan(load_chosen_model(located_model, codec), compute, input_scan, plane)

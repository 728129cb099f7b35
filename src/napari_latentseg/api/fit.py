"""Whether a model was made for an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_latentseg.core.fit import Fit
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["check_fit"]


def check_fit(
    scan: Scan | str | Path, model: Model | LocatedModel | str | Path, *, plane: str = "acquired"
) -> Fit | None:
    """Whether a model was made for an image, as far as the image's header tells.

    Modality, dimensions, grey or colour, spacing and size are compared with the training images. A model runs
    on any image; where the verdict is not ``"fits"``, its measured accuracy and its calibrated intervals do
    not hold.

    Parameters
    ----------
    scan
        A scan, or the path of one.
    model
        A model, or the name or folder of one.
    plane
        The orientation of the slices, as for `segment`.

    Returns
    -------
    Fit or None
        None where nothing could be compared: the card knows nothing of the training images, and image or card
        does not state its modality.

    Raises
    ------
    BadInput
        If there is no such model or scan, or the scan has no such slices.

    Examples
    --------
    >>> from napari_latentseg import check_fit
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> check_fit(ultrasound_phantom().scan, "hippocampus-mr").state
    'foreign'
    """
    from napari_latentseg.core.reorient import reorient
    from napari_latentseg.evaluation.header_fit import header_fit
    from napari_latentseg.io import read_scan
    from napari_latentseg.models.store import locate_model

    card = (locate_model(model) if isinstance(model, str | Path) else model).card
    input_scan = read_scan(scan) if isinstance(scan, str | Path) else scan
    oriented, _ = reorient(input_scan, plane)
    return header_fit(oriented, card.modality, card.fit.headers if card.fit is not None else None)

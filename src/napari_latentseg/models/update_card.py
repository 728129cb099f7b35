"""Changing a card after training: calibration and measured performance are added later."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, ModelCard, read_card
from napari_latentseg.models.store import embedded_codec
from napari_latentseg.utils.atomic import atomic_folder, atomic_path, check_unused_folder

__all__ = ["check_can_update_card", "update_card"]


def check_can_update_card(folder: Path, out: Path | None) -> None:
    """Check that `update_card` can write, before the figures are computed, which takes long.

    Parameters
    ----------
    folder, out
        As for `update_card`.

    Raises
    ------
    BadInput
        If the model is embedded in the package and `out` is not given, or `out` is not empty.
    """
    if out is not None:
        check_unused_folder(out)
    elif folder.resolve().parent == embedded_codec().resolve().parent:
        raise BadInput(
            folder.name, "is embedded in the package and read-only", "give --out FOLDER for a copy of it"
        )


def update_card(folder: Path, changes: dict[str, Any], out: Path | None = None) -> ModelCard:
    """Change fields of a model's card; its weights and other files stay the same.

    Parameters
    ----------
    folder
        A model folder.
    changes
        New values by field name of `ModelCard`.
    out
        New folder for a copy of the model with the changed card; the model itself is changed where not given.

    Returns
    -------
    ModelCard
        The new card.

    Raises
    ------
    BadInput
        As `check_can_update_card`, or where the card cannot be written.
    """
    check_can_update_card(folder, out)
    card = read_card(folder).replace(**changes)
    if out is None:
        with atomic_path(folder / CARD) as temporary:
            card.write(temporary)
        return card
    with atomic_folder(out) as copy:
        for name in card.files:
            shutil.copyfile(folder / name, copy / name)
        card.write(copy / CARD)
    return card

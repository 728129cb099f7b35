"""What is found out about a model after its training, written into its card."""

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
    """See whether `update_card` may write, before there is anything to write.

    Raises
    ------
    BadInput
        Where the model came with the package and no other place is given, or the place is taken.
    """
    if out is not None:
        check_unused_folder(out)
    elif folder.resolve().parent == embedded_codec().resolve().parent:
        raise BadInput(
            folder.name, "came with the package, and stays as it is", "give --out FOLDER to have a copy of it"
        )


def update_card(folder: Path, changes: dict[str, Any], out: Path | None = None) -> ModelCard:
    """Change fields of a model's card; the weights and the other files stay what they are.

    Parameters
    ----------
    folder
        A model folder.
    changes
        Fields of the card.
    out
        In place of writing there: a folder for a copy of the model with the changed card.

    Returns
    -------
    ModelCard
        As written.

    Raises
    ------
    BadInput
        As `check_can_update_card`, or where nothing can be written.
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

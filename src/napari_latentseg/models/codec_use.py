"""Which models on this machine need a codec."""

from __future__ import annotations

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.codec_lookup import EMBEDDED_CODEC
from napari_latentseg.models.store import model_folders
from napari_latentseg.utils.paths import data_home

__all__ = ["models_by_codec"]


def models_by_codec() -> dict[str, list[str]]:
    """The names of the models here by the SHA-256 of their codec, each with all its versions and candidates.

    Without those on the embedded codec, which is always there.
    """
    names: dict[str, set[str]] = {}
    home = data_home()
    folders = [*model_folders().values(), *home.glob("models/*"), *home.glob("versions/*/*")]
    for folder in [*folders, *home.glob("candidates/*")]:
        if folder.name.startswith(".") or not (folder / CARD).is_file():
            continue
        try:
            card = read_card(folder)
        except BadInput:
            continue
        if card.codec is not None and card.codec.name != EMBEDDED_CODEC:
            names.setdefault(card.codec.sha256, set()).add(card.name)
    return {sha256: sorted(models) for sha256, models in names.items()}

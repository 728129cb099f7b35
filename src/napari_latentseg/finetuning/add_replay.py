"""Giving a model that has none pieces of its own training, and naming them in its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from napari_latentseg.files import atomic_path
from napari_latentseg.finetuning.cases import examples_of, find_lessons
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.layout import REPLAY
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model
from napari_latentseg.precision import choose_compute
from napari_latentseg.training.dataset import Example
from napari_latentseg.training.replay import COUNT, make_replay
from napari_latentseg.weights import sha256_of

__all__ = ["add_replay"]


def add_replay(folder: Path, data: Sequence[Path], *, count: int = COUNT, codec: Path | None = None) -> int:
    """Give a model folder its replay file, and name it in its card.

    Parameters
    ----------
    folder
        Of the model; must say which images it learned from.
    data
        Folders that hold them.
    count
        How many pieces.
    codec
        The folder of its codec, where it lies apart.

    Returns
    -------
    int
        The size of the file in bytes.

    Raises
    ------
    BadInput
        Where none of the images is one that the model learned from, or nothing can be written.
    """
    folder = Path(folder)
    model = load_model(folder, codec)
    compute = choose_compute()
    model.method.to(compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    split = read_split(folder)
    parts: dict[str, list[Example]] = {"train": [], "validation": []}
    for lesson in find_lessons(data, model.card):
        if part := split.part_of(lesson):
            parts[part] += examples_of(lesson.load(), lesson.key, model.card)
    content = make_replay(model.method, model.card, parts["train"], parts["validation"], compute, count=count)
    # the card never names what is not there, or not yet: a model of which that is so does not load
    _name_in_card(folder, None)
    with atomic_path(folder / REPLAY) as temporary:
        temporary.write_bytes(content)
    _name_in_card(folder, sha256_of(folder / REPLAY))
    return len(content)


def _name_in_card(folder: Path, sha256: str | None) -> None:
    card = read_card(folder)
    files = {name: value for name, value in card.files.items() if name != REPLAY}
    if sha256 is not None:
        files = dict(sorted((files | {REPLAY: sha256}).items()))
    if files != card.files:
        with atomic_path(folder / CARD) as temporary:
            card.replace(files=files).write(temporary)

"""Adding replay, patches of its own training, to a model that has none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_latentseg.data.slices import Slice
from napari_latentseg.finetuning.cases import collect_cases, read_slices
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.layout import REPLAY_FILE
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model
from napari_latentseg.training.replay import DEFAULT_PATCHES, make_replay
from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.device import move_to_device, resolve_compute
from napari_latentseg.utils.weights import file_sha256

__all__ = ["add_replay"]


def add_replay(
    folder: Path, data: Sequence[Path], *, count: int = DEFAULT_PATCHES, codec: str | Path | None = None
) -> int:
    """Write the replay file of a model folder, and add it to its card.

    Parameters
    ----------
    folder
        Of the model; must have a `split.json`.
    data
        Folders of the images that it was trained on, see `collect_cases`.
    count
        How many patches.
    codec
        Its codec, where it is not kept on this machine.

    Returns
    -------
    int
        The size of the file in bytes.

    Raises
    ------
    BadInput
        If the model was trained on none of the images, or nothing can be written.
    """
    folder = Path(folder)
    model = load_model(folder, codec)
    compute = resolve_compute()
    move_to_device(model.method, compute.torch_device())
    split = read_split(folder)
    slices: dict[str, list[Slice]] = {"train": [], "validation": []}
    for case in collect_cases(data, model.card):
        if subset := split.part_of(case):
            slices[subset] += read_slices(case, model.card)
    content = make_replay(
        model.method, model.card, slices["train"], slices["validation"], compute, count=count
    )
    # the card must never name a missing or outdated file, or the model could not be loaded after a crash
    _set_card_hash(folder, None)
    with atomic_path(folder / REPLAY_FILE) as temporary:
        temporary.write_bytes(content)
    _set_card_hash(folder, file_sha256(folder / REPLAY_FILE))
    return len(content)


def _set_card_hash(folder: Path, sha256: str | None) -> None:
    card = read_card(folder)
    files = {name: value for name, value in card.files.items() if name != REPLAY_FILE}
    if sha256 is not None:
        files = dict(sorted((files | {REPLAY_FILE: sha256}).items()))
    if files != card.files:
        with atomic_path(folder / CARD) as temporary:
            card.replace(files=files).write(temporary)

"""Fine-tuned models that wait for a decision.

A fine-tuned model is a candidate, in `candidates/NAME/` of the data folder, until the user adopts or discards
it. An adopted candidate becomes the next version of its base model, under the same name, see `versions.py`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, ModelCard, read_card
from napari_latentseg.models.install import install_folder
from napari_latentseg.models.layout import COMPARISON_FILE, WEIGHTS_FILE
from napari_latentseg.models.store import data_home, load_model, model_folders, subfolders
from napari_latentseg.models.versions import copy_as_version, list_versions, set_current_version
from napari_latentseg.utils.atomic import remove_folder

__all__ = ["adopt", "candidate_folder", "discard", "free_name", "list_candidates"]


def candidate_folder(name: str) -> Path:
    """The folder of a candidate."""
    return data_home() / "candidates" / name


def list_candidates() -> dict[str, Path]:
    """The folders of all candidates, by name."""
    root = data_home() / "candidates"
    return {p.name: p for p in subfolders(root) if (p / CARD).is_file()}


def free_name(base: str, used: Iterable[str] = (), suffix: str = "-tuned") -> str:
    """A free name for a candidate: that of its base model with a suffix, and a number if needed.

    Parameters
    ----------
    base
        Name of the base model.
    used
        Names that are not free, beside those of models, candidates and stopped trainings.
    suffix
        What tells it from the base.
    """
    used_names = {*model_folders(), *list_candidates(), *used}
    base_stem = re.sub(r"-tuned(-\d+)?$", "", base)
    number = 1
    while True:
        name = f"{base_stem}{suffix}" if number == 1 else f"{base_stem}{suffix}-{number}"
        folder = candidate_folder(name)
        if (
            name not in used_names
            and not folder.exists()
            and not folder.with_name(f"{name}.checkpoint").exists()
        ):
            return name
        number += 1


def adopt(candidate: str | Path, *, keep_both: bool = False) -> Path:
    """Adopt a candidate: use it from now on.

    Parameters
    ----------
    candidate
        Its name, or its folder.
    keep_both
        Whether to install it as a separate model under its own name. Otherwise it becomes the current version
        of its base model. No file of the base model is changed in either case.

    Returns
    -------
    Path
        Its new folder.

    Raises
    ------
    BadInput
        If there is no such candidate, it is damaged, its name is taken, or the model with the name of its
        base has other weights than the base.
    """
    source = _find_candidate(candidate)
    card = read_card(source)
    if keep_both or _has_another_method(card):
        # install_folder loads the model once, as a test
        target = install_folder(source)
    else:
        base = _checked_base_name(card)
        load_model(source)
        target = copy_as_version(source, card, base, at_least=1)
        set_current_version(base, int(target.name))
    if source.parent == data_home() / "candidates":
        _remove_candidate(source)
    return target


def _has_another_method(card: ModelCard) -> bool:
    """Whether a candidate cannot replace its base: a model of one structure, from one that is pointed at."""
    base = card.parent.rpartition(" ")[0]
    folder = model_folders().get(base)
    return folder is not None and read_card(folder).method != card.method


def discard(candidate: str | Path) -> None:
    """Remove a candidate.

    Parameters
    ----------
    candidate
        Its name, or its folder.

    Raises
    ------
    BadInput
        If it is not a candidate; installed models are removed by `remove_model`.
    """
    source = _find_candidate(candidate)
    _remove_candidate(source)


def _find_candidate(candidate: str | Path) -> Path:
    """The folder of a candidate."""
    candidates = list_candidates()
    folder = candidates.get(str(candidate), Path(candidate))
    if not (folder / CARD).is_file():
        remedy = f"use one of {', '.join(candidates)}" if candidates else "there are no candidates"
        raise BadInput("candidate", f"no candidate {str(candidate)!r}", remedy)
    if COMPARISON_FILE not in read_card(folder).files:
        raise BadInput(
            folder, "was not fine-tuned from another model", "use models install, or models remove"
        )
    stores = (data_home() / "versions", data_home() / "models")
    if any(store.resolve() in folder.resolve().parents for store in stores):
        raise BadInput(folder, "is installed already", "use models revert, or models remove")
    return folder


def _checked_base_name(card: ModelCard) -> str:
    """Name of a candidate's base model, after checking that it has the weights the candidate started from."""
    if not card.lineage:
        raise BadInput(card.name, "does not name its base model", "keep both")
    base = card.lineage[-1]
    if base.name not in model_folders():
        raise BadInput(base.name, "is not installed here", "keep both")
    for version_info in list_versions(base.name):
        if read_card(version_info.folder).files.get(WEIGHTS_FILE) == base.sha256:
            return base.name
    raise BadInput(base.name, "has other weights than the base model of the candidate", "keep both")


def _remove_candidate(folder: Path) -> None:
    """Remove a candidate and the training checkpoint beside it."""
    remove_folder(folder)
    shutil.rmtree(folder.with_name(f"{folder.name}.checkpoint"), ignore_errors=True)

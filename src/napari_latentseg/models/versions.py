"""The versions of a model, and going back to an earlier one. How a candidate becomes one: `candidates.py`.

In the data folder:

    versions/NAME/2/            a version (a complete model folder)
    versions/NAME/current.json  number of the current version, which the name loads

The embedded or installed model is the first version; it is never changed, and is the current one if there is
no `current.json`. That file is replaced atomically, so that even after a crash the name loads the old or the
new version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.card_text import dice_words
from napari_latentseg.models.install import reset_current_version
from napari_latentseg.models.layout import COMPARISON_FILE
from napari_latentseg.models.store import (
    CURRENT_FILE,
    data_home,
    find_model,
    subfolders,
    unversioned_model_folders,
    version_folder,
)
from napari_latentseg.utils.atomic import atomic_folder, atomic_path, ensure_writable_folder
from napari_latentseg.utils.json_text import load_json

__all__ = [
    "ModelVersion",
    "comparison_line",
    "copy_as_version",
    "list_versions",
    "next_version",
    "revert",
    "set_current_version",
]


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model.

    Attributes
    ----------
    name, version, parent
        From its card.
    folder
        Its model folder.
    is_current
        Whether this version is loaded by the name.
    origin
        ``"package"`` (embedded), ``"installed"``, or ``"taught"``: fine-tuned on this machine.
    dsc
        Dice of the card's headline metrics, in [0, 1]; None without metrics.
    dsc_images
        On how many images it was measured; None without metrics.
    base_dsc
        Dice of the base model on the same images; None where the version was not compared on them.
    comparison
        Comparison with its base model, in one line; empty without one.

    Examples
    --------
    >>> from napari_latentseg import model_history
    >>> version = model_history("breast-ultrasound")[0]
    >>> version.version, version.is_current, version.origin
    ('2', True, 'package')
    """

    name: str
    version: str
    parent: str
    folder: Path
    is_current: bool
    origin: str
    dsc: float | None
    comparison: str
    dsc_images: int | None = None
    base_dsc: float | None = None

    @property
    def dice(self) -> str:
        """Its Dice in words, with its number of images and the base's on the same; empty without one."""
        if self.dsc is None or self.dsc_images is None:
            return ""
        return dice_words(self.dsc, self.dsc_images, self.base_dsc, "case" if self.parent else "image")


def list_versions(name: str) -> list[ModelVersion]:
    """The versions of a model, the oldest first.

    Raises
    ------
    BadInput
        If there is no model of that name.
    """
    current = find_model(name)
    folders = [*_original_folders(name), *(folder for _, folder in _fine_tuned_versions(name))]
    versions = []
    for folder in folders:
        try:
            card = read_card(folder)
        except BadInput:
            continue
        versions.append(
            ModelVersion(
                name=card.name,
                version=card.version,
                parent=card.parent,
                folder=folder,
                is_current=folder == current,
                origin=_origin(folder),
                comparison=comparison_line(folder),
                **_dsc_fields(folder, card),
            )
        )
    return versions


def _dsc_fields(folder: Path, card: ModelCard) -> dict[str, Any]:
    """The fields of a `ModelVersion` about its Dice."""
    metric = card.headline_metrics
    if metric is None or "dsc" not in metric.values:
        return {"dsc": None}
    base_dsc = metric.base_values.get("dsc")
    if base_dsc is None:  # cards of earlier versions do not have it
        try:
            base_dsc = float(
                load_json((folder / COMPARISON_FILE).read_text("utf-8"))["held_out"]["before"]["dsc"]
            )
        except (OSError, ValueError, LookupError, TypeError):
            base_dsc = None
    return {"dsc": metric.values["dsc"], "dsc_images": metric.images, "base_dsc": base_dsc}


def next_version(name: str) -> str:
    """The number of the next version of a model, one above the highest."""
    numbers = [number for number, _ in _fine_tuned_versions(name)]
    for folder in _original_folders(name):
        try:
            version = read_card(folder).version
        except BadInput:
            continue
        numbers.append(int(version) if version.isdecimal() else 1)
    return str(max(numbers, default=0) + 1)


def revert(name: str, version: str | None = None) -> Path:
    """Make another version of a model the current one; no version is removed.

    Parameters
    ----------
    name
        Name of the model.
    version
        Its number, as text; the version that the current one was fine-tuned from where not given.

    Returns
    -------
    Path
        Folder of the version that is current now.

    Raises
    ------
    BadInput
        If there is no such version, or no earlier one.
    """
    versions = list_versions(name)
    if version is None:
        version = _previous_version(name, versions)
    target = next((version_info for version_info in versions if version_info.version == version), None)
    if target is None:
        version_list = ", ".join(version_info.version for version_info in versions)
        raise BadInput(name, f"has no version {version}", f"use one of {version_list}")
    if target.origin == "taught":
        set_current_version(name, int(target.folder.name))
    else:
        reset_current_version(name)
    return find_model(name)


def copy_as_version(source: Path, card: ModelCard, base: str, *, at_least: int) -> Path:
    """Copy a model to the versions of its base model; one that already exists is not copied again."""
    for _, folder in _fine_tuned_versions(base):
        if read_card(folder).files == card.files:
            return folder
    while True:
        number = str(max(int(next_version(base)), at_least))
        target = version_folder(base, number)
        ensure_writable_folder(target.parent)
        try:
            with atomic_folder(target) as temporary:
                for file in card.files:
                    shutil.copyfile(source / file, temporary / file)
                card.replace(name=base, version=number).write(temporary / CARD)
                _sync_files(temporary)
        except BadInput:
            if not target.exists():
                raise
            continue  # another process took the number in the meantime
        except OSError as error:
            raise BadInput(target, f"cannot be written ({error.strerror})", "free some disk space") from error
        return target


def set_current_version(name: str, number: int) -> None:
    """Make a name load one of its versions, atomically."""
    folder = data_home() / "versions" / name
    with atomic_path(folder / CURRENT_FILE) as temporary:
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump({"format": 1, "version": number}, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BadInput(folder, f"cannot be written ({error.strerror})", "free some disk space") from error


def _sync_files(folder: Path) -> None:
    """Flush every file of a folder to disk, before `current.json` points to it."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _previous_version(name: str, versions: list[ModelVersion]) -> str:
    """The version that the current one was fine-tuned from, or the one before it."""
    current_index = next((i for i, version_info in enumerate(versions) if version_info.is_current), 0)
    lineage = read_card(versions[current_index].folder).lineage if versions else ()
    if lineage and lineage[-1].name == name:
        for version_info in versions:
            if version_info.version == lineage[-1].version and not version_info.is_current:
                return version_info.version
    if current_index == 0:
        raise BadInput(name, "is at its first version", "there is no earlier one")
    return versions[current_index - 1].version


def _fine_tuned_versions(name: str) -> list[tuple[int, Path]]:
    """Numbers and folders of the versions that were fine-tuned here, in order."""
    if not re.fullmatch(NAME_PATTERN, name):
        return []
    root = data_home() / "versions" / name
    folders = [p for p in subfolders(root) if p.name.isdecimal()]
    return sorted((int(p.name), p) for p in folders if (p / CARD).is_file())


def _original_folders(name: str) -> list[Path]:
    """The folder of the embedded or installed model of a name; empty without one."""
    folder = unversioned_model_folders().get(name)
    return [] if folder is None else [folder]


def _origin(folder: Path) -> str:
    if folder.parent == data_home() / "models":
        return "installed"
    return "taught" if folder.parent.parent == data_home() / "versions" else "package"


def comparison_line(folder: Path) -> str:
    """The first line of a model's comparison with its base model; empty without one."""
    try:
        return str(load_json((folder / COMPARISON_FILE).read_text("utf-8"))["line"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""

"""The versions of a model: what was taught from it, which one is in use, and the way back.

A model that was taught lies as a candidate in a folder of its own until a person has decided. Adopted, it
becomes the next version under its base's name:

    candidates/NAME/            waits for adopt or discard
    versions/NAME/2/            a version, whole
    versions/NAME/current.json  which one is in use

What came with the package or was installed is the first version; it stays where it is, and is in use where
there is no `current.json`. That file is written under another name and moved to its own, so that at any
moment, a kill's among them, a name loads either the old version or the new one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.install import install_folder, remove_folder, reset_current_version
from napari_latentseg.models.layout import COMPARISON_FILE, WEIGHTS_FILE
from napari_latentseg.models.store import (
    CURRENT_FILE,
    data_home,
    find_model,
    load_model,
    model_folders,
    unversioned_model_folders,
    version_folder,
)
from napari_latentseg.utils.atomic import atomic_folder, atomic_path, ensure_writable_folder

__all__ = [
    "Version",
    "adopt",
    "candidate_folder",
    "comparison_line",
    "discard",
    "free_name",
    "list_candidates",
    "list_versions",
    "next_version",
    "revert",
]


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes
    ----------
    name, version, parent
        As its card says.
    folder
        Where it lies.
    is_current
        Whether the name loads it now.
    origin
        ``"package"``, ``"installed"``, or ``"taught"`` on this machine.
    dsc
        Of its card's typical figures; None where it has none.
    comparison
        What its comparison with its base said; empty where there was none.
    """

    name: str
    version: str
    parent: str
    folder: Path
    is_current: bool
    origin: str
    dsc: float | None
    comparison: str


def candidate_folder(name: str) -> Path:
    """Where a model that is being taught waits for a decision."""
    return data_home() / "candidates" / name


def list_candidates() -> dict[str, Path]:
    """The models that wait for a decision, by name."""
    root = data_home() / "candidates"
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {p.name: p for p in folders if not p.name.startswith(".") and (p / CARD).is_file()}


def free_name(base: str) -> str:
    """A name for a model that is taught from another, which no model and no candidate has."""
    used_names = {*model_folders(), *list_candidates()}
    base_stem = re.sub(r"-tuned(-\d+)?$", "", base)
    number = 1
    while True:
        name = f"{base_stem}-tuned" if number == 1 else f"{base_stem}-tuned-{number}"
        folder = candidate_folder(name)
        if (
            name not in used_names
            and not folder.exists()
            and not folder.with_name(f"{name}.checkpoint").exists()
        ):
            return name
        number += 1


def list_versions(name: str) -> list[Version]:
    """The versions of a model, the oldest first.

    Raises
    ------
    BadInput
        Where there is no model of that name.
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
            Version(
                name=card.name,
                version=card.version,
                parent=card.parent,
                folder=folder,
                is_current=folder == current,
                origin=_origin(folder),
                dsc=card.headline_metrics.values.get("dsc") if card.headline_metrics else None,
                comparison=comparison_line(folder),
            )
        )
    return versions


def next_version(name: str) -> str:
    """The number that the next version of a model will have."""
    numbers = [number for number, _ in _fine_tuned_versions(name)]
    for folder in _original_folders(name):
        try:
            version = read_card(folder).version
        except BadInput:
            continue
        numbers.append(int(version) if version.isdecimal() else 1)
    return str(max(numbers, default=0) + 1)


def adopt(candidate: str | Path, *, keep_both: bool = False) -> Path:
    """Put a taught model into use.

    Parameters
    ----------
    candidate
        Its folder, or the name of one that waits.
    keep_both
        Install it as a model of its own, beside its base; otherwise it is the next version of its base, and
        the base's name loads it from now on. Either way no file of the base is touched.

    Returns
    -------
    Path
        Where it lies now.

    Raises
    ------
    BadInput
        Where there is no such candidate, it is damaged, its name is taken, or its base is another model than
        the one of that name at hand.
    """
    source = _find_candidate(candidate)
    card = read_card(source)
    if keep_both:
        # install_folder loads it first, to see that all of it fits
        target = install_folder(source)
    else:
        base = _checked_base_name(card)
        load_model(source)
        target = _copy_as_version(source, card, base)
        _set_current_version(base, int(target.name))
    if source.parent == data_home() / "candidates":
        _remove_candidate(source)
    return target


def revert(name: str, version: str | None = None) -> Path:
    """Go back to another version of a model; none is removed.

    Parameters
    ----------
    name
        Of the model.
    version
        Which; the one that the current version was taught from where not given.

    Returns
    -------
    Path
        Where the version lies that is in use now.

    Raises
    ------
    BadInput
        Where there is no such version, or nothing to go back to.
    """
    versions = list_versions(name)
    if version is None:
        version = _previous_version(name, versions)
    target = next((version_info for version_info in versions if version_info.version == version), None)
    if target is None:
        version_list = ", ".join(version_info.version for version_info in versions)
        raise BadInput(name, f"has no version {version}", f"use one of {version_list}")
    if target.origin == "taught":
        _set_current_version(name, int(target.folder.name))
    else:
        reset_current_version(name)
    return find_model(name)


def discard(candidate: str | Path) -> None:
    """Remove a taught model that nobody wants.

    Raises
    ------
    BadInput
        Where it is no candidate: what is installed is removed by `remove_model` alone.
    """
    source = _find_candidate(candidate)
    _remove_candidate(source)


def _find_candidate(candidate: str | Path) -> Path:
    """The folder of a candidate."""
    waiting = list_candidates()
    folder = waiting.get(str(candidate), Path(candidate))
    if not (folder / CARD).is_file():
        remedy = f"use one of {', '.join(waiting)}" if waiting else "none waits for a decision"
        raise BadInput("candidate", f"no candidate {str(candidate)!r}", remedy)
    if COMPARISON_FILE not in read_card(folder).files:
        raise BadInput(folder, "was not taught from another model", "use models install, or models remove")
    stores = (data_home() / "versions", data_home() / "models")
    if any(store.resolve() in folder.resolve().parents for store in stores):
        raise BadInput(folder, "is in the store already", "use models revert, or models remove")
    return folder


def _checked_base_name(card: ModelCard) -> str:
    """The name of the model that a candidate was taught from, once it is known to be that very model."""
    if not card.lineage:
        raise BadInput(card.name, "does not say what it was taught from", "keep both")
    base = card.lineage[-1]
    if base.name not in model_folders():
        raise BadInput(base.name, "is not among the models here", "keep both")
    for version_info in list_versions(base.name):
        if read_card(version_info.folder).files.get(WEIGHTS_FILE) == base.sha256:
            return base.name
    raise BadInput(base.name, "is another model than the one that was taught", "keep both")


def _copy_as_version(source: Path, card: ModelCard, base: str) -> Path:
    """Copy a candidate to where the versions of its base lie; the same one twice is one version."""
    for _, folder in _fine_tuned_versions(base):
        if read_card(folder).files == card.files:
            return folder
    while True:
        number = next_version(base)
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
            continue  # another window took the number in between
        except OSError as error:
            raise BadInput(target, f"cannot be written ({error.strerror})", "make room") from error
        return target


def _set_current_version(name: str, number: int) -> None:
    """Have a name load one of its versions, in a single step."""
    folder = data_home() / "versions" / name
    with atomic_path(folder / CURRENT_FILE) as temporary:
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump({"format": 1, "version": number}, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BadInput(folder, f"cannot be written ({error.strerror})", "make room") from error


def _sync_files(folder: Path) -> None:
    """Bring every file of a folder to the disk before a name points to it."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _previous_version(name: str, versions: list[Version]) -> str:
    """The version that the current one was taught from, or the one before it."""
    current_index = next((i for i, version_info in enumerate(versions) if version_info.is_current), 0)
    lineage = read_card(versions[current_index].folder).lineage if versions else ()
    if lineage and lineage[-1].name == name:
        for one in versions:
            if one.version == lineage[-1].version and not one.is_current:
                return one.version
    if current_index == 0:
        raise BadInput(name, "is at its first version", "there is nothing to go back to")
    return versions[current_index - 1].version


def _fine_tuned_versions(name: str) -> list[tuple[int, Path]]:
    """The versions that were taught here, by number."""
    if not re.fullmatch(NAME_PATTERN, name):
        return []
    root = data_home() / "versions" / name
    folders = [p for p in root.iterdir() if p.name.isdecimal()] if root.is_dir() else []
    return sorted((int(p.name), p) for p in folders if (p / CARD).is_file())


def _original_folders(name: str) -> list[Path]:
    """What came with the package or was installed under a name."""
    folder = unversioned_model_folders().get(name)
    return [] if folder is None else [folder]


def _origin(folder: Path) -> str:
    if folder.parent == data_home() / "models":
        return "installed"
    return "taught" if folder.parent.parent == data_home() / "versions" else "package"


def comparison_line(folder: Path) -> str:
    """What a model's comparison with its base said first; empty where there was none."""
    try:
        return str(json.loads((folder / COMPARISON_FILE).read_text("utf-8"))["line"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _remove_candidate(folder: Path) -> None:
    """Take a candidate away, with the checkpoint beside it."""
    remove_folder(folder)
    shutil.rmtree(folder.with_name(f"{folder.name}.checkpoint"), ignore_errors=True)

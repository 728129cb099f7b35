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
from napari_latentseg.files import atomic_folder, atomic_path, usable_folder
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.install import forget_current, install_folder, take_away
from napari_latentseg.models.layout import COMPARISON, WEIGHTS
from napari_latentseg.models.store import (
    CURRENT,
    find_model,
    home,
    load_model,
    model_folders,
    own_folders,
    version_folder,
)

__all__ = [
    "Version",
    "adopt",
    "candidate_folder",
    "candidates",
    "comparison_line",
    "discard",
    "free_name",
    "history",
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
    current
        Whether the name loads it now.
    origin
        ``"package"``, ``"installed"``, or ``"taught"`` on this machine.
    dsc
        Of its card's typical figures; None where it has none.
    line
        What its comparison with its base said; empty where there was none.
    """

    name: str
    version: str
    parent: str
    folder: Path
    current: bool
    origin: str
    dsc: float | None
    line: str


def candidate_folder(name: str) -> Path:
    """Where a model that is being taught waits for a decision."""
    return home() / "candidates" / name


def candidates() -> dict[str, Path]:
    """The models that wait for a decision, by name."""
    root = home() / "candidates"
    found = sorted(root.iterdir()) if root.is_dir() else []
    return {p.name: p for p in found if not p.name.startswith(".") and (p / CARD).is_file()}


def free_name(base: str) -> str:
    """A name for a model that is taught from another, which no model and no candidate has."""
    taken = {*model_folders(), *candidates()}
    stem = re.sub(r"-tuned(-\d+)?$", "", base)
    number = 1
    while True:
        name = f"{stem}-tuned" if number == 1 else f"{stem}-tuned-{number}"
        folder = candidate_folder(name)
        if name not in taken and not folder.exists() and not folder.with_name(f"{name}.checkpoint").exists():
            return name
        number += 1


def history(name: str) -> list[Version]:
    """The versions of a model, the oldest first.

    Raises
    ------
    BadInput
        Where there is no model of that name.
    """
    current = find_model(name)
    places = [*_first_places(name), *(folder for _, folder in _taught(name))]
    found = []
    for folder in places:
        try:
            card = read_card(folder)
        except BadInput:
            continue
        found.append(
            Version(
                name=card.name,
                version=card.version,
                parent=card.parent,
                folder=folder,
                current=folder == current,
                origin=_origin(folder),
                dsc=card.typical.values.get("dsc") if card.typical else None,
                line=comparison_line(folder),
            )
        )
    return found


def next_version(name: str) -> str:
    """The number that the next version of a model will have."""
    numbers = [number for number, _ in _taught(name)]
    for folder in _first_places(name):
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
    source = _candidate(candidate)
    card = read_card(source)
    if keep_both:
        # install_folder loads it first, to see that all of it fits
        place = install_folder(source)
    else:
        base = _base_of(card)
        load_model(source)
        place = _as_version(source, card, base)
        _point(base, int(place.name))
    if source.parent == home() / "candidates":
        _remove(source)
    return place


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
    found = history(name)
    if version is None:
        version = _taught_from(name, found)
    chosen = next((one for one in found if one.version == version), None)
    if chosen is None:
        known = ", ".join(one.version for one in found)
        raise BadInput(name, f"has no version {version}", f"use one of {known}")
    if chosen.origin == "taught":
        _point(name, int(chosen.folder.name))
    else:
        forget_current(name)
    return find_model(name)


def discard(candidate: str | Path) -> None:
    """Remove a taught model that nobody wants.

    Raises
    ------
    BadInput
        Where it is no candidate: what is installed is removed by `remove_model` alone.
    """
    source = _candidate(candidate)
    _remove(source)


def _candidate(given: str | Path) -> Path:
    """The folder of a candidate."""
    known = candidates()
    folder = known.get(str(given), Path(given))
    if not (folder / CARD).is_file():
        remedy = f"use one of {', '.join(known)}" if known else "none waits for a decision"
        raise BadInput("candidate", f"no candidate {str(given)!r}", remedy)
    if COMPARISON not in read_card(folder).files:
        raise BadInput(folder, "was not taught from another model", "use models install, or models remove")
    stores = (home() / "versions", home() / "models")
    if any(store.resolve() in folder.resolve().parents for store in stores):
        raise BadInput(folder, "is in the store already", "use models revert, or models remove")
    return folder


def _base_of(card: ModelCard) -> str:
    """The name of the model that a candidate was taught from, once it is known to be that very model."""
    if not card.lineage:
        raise BadInput(card.name, "does not say what it was taught from", "keep both")
    base = card.lineage[-1]
    if base.name not in model_folders():
        raise BadInput(base.name, "is not among the models here", "keep both")
    for one in history(base.name):
        if read_card(one.folder).files.get(WEIGHTS) == base.sha256:
            return base.name
    raise BadInput(base.name, "is another model than the one that was taught", "keep both")


def _as_version(source: Path, card: ModelCard, base: str) -> Path:
    """Copy a candidate to where the versions of its base lie; the same one twice is one version."""
    for _, folder in _taught(base):
        if read_card(folder).files == card.files:
            return folder
    while True:
        number = next_version(base)
        place = version_folder(base, number)
        usable_folder(place.parent)
        try:
            with atomic_folder(place) as temporary:
                for file in card.files:
                    shutil.copyfile(source / file, temporary / file)
                card.replace(name=base, version=number).write(temporary / CARD)
                _settle(temporary)
        except BadInput:
            if not place.exists():
                raise
            continue  # another window took the number in between
        except OSError as error:
            raise BadInput(place, f"cannot be written ({error.strerror})", "make room") from error
        return place


def _point(name: str, number: int) -> None:
    """Have a name load one of its versions, in a single step."""
    folder = home() / "versions" / name
    with atomic_path(folder / CURRENT) as temporary:
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump({"format": 1, "version": number}, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BadInput(folder, f"cannot be written ({error.strerror})", "make room") from error


def _settle(folder: Path) -> None:
    """Bring every file of a folder to the disk before a name points to it."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _taught_from(name: str, found: list[Version]) -> str:
    """The version that the current one was taught from, or the one before it."""
    at = next((i for i, one in enumerate(found) if one.current), 0)
    lineage = read_card(found[at].folder).lineage if found else ()
    if lineage and lineage[-1].name == name:
        for one in found:
            if one.version == lineage[-1].version and not one.current:
                return one.version
    if at == 0:
        raise BadInput(name, "is at its first version", "there is nothing to go back to")
    return found[at - 1].version


def _taught(name: str) -> list[tuple[int, Path]]:
    """The versions that were taught here, by number."""
    if not re.fullmatch(NAME_PATTERN, name):
        return []
    root = home() / "versions" / name
    found = [p for p in root.iterdir() if p.name.isdecimal()] if root.is_dir() else []
    return sorted((int(p.name), p) for p in found if (p / CARD).is_file())


def _first_places(name: str) -> list[Path]:
    """What came with the package or was installed under a name."""
    folder = own_folders().get(name)
    return [] if folder is None else [folder]


def _origin(folder: Path) -> str:
    if folder.parent == home() / "models":
        return "installed"
    return "taught" if folder.parent.parent == home() / "versions" else "package"


def comparison_line(folder: Path) -> str:
    """What a model's comparison with its base said first; empty where there was none."""
    try:
        return str(json.loads((folder / COMPARISON).read_text("utf-8"))["line"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _remove(folder: Path) -> None:
    """Take a candidate away, with the checkpoint beside it."""
    take_away(folder)
    shutil.rmtree(folder.with_name(f"{folder.name}.checkpoint"), ignore_errors=True)

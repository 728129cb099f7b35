"""What the labels of a folder mean, as a person or a file says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.object_names import class_and_number
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.mask_values import COLOR_LABEL, label_text
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.json_text import load_json

__all__ = ["LABEL_FILES", "LabelNames", "LabelsOption", "parse_label_names", "read_label_file"]

LABEL_FILES = ("dataset.json", "labels.json", "labels.txt", "labelmap.txt")
"""Names of files beside images/ and masks/ that say what the labels mean; the first counts."""

LabelsOption = str | Path | Mapping[Any, str]
"""What `parse_label_names` takes."""

_ANY, _IGNORE, _BACKGROUND = "any", "ignore", "background"
_REMEDY = "write 17=NAME,53=NAME, any=NAME, or give a file"
# CVAT's labelmap.txt: name:r,g,b:parts:actions
_CVAT_LINE = re.compile(r"([^:]+):(\d+),(\d+),(\d+):.*")
# ITK-SNAP: number, red, green, blue, alpha, two flags, "name"
_SNAP_LINE = re.compile(r'(\d+)(?:\s+[\d.]+){6}\s+"(.*)"')
# FreeSurfer's table, and a plain list: number, name, perhaps a colour
_PLAIN_LINE = re.compile(r"(#[0-9a-fA-F]{6}|\d+)[\s=,:]+([^\s,].*?)(?:(?:\s+\d+){3,4})?")


@dataclass(frozen=True)
class LabelNames:
    """The class of each label, by name.

    Attributes
    ----------
    by_label
        Without the background. Colours have labels too: see `COLOR_LABEL`.
    any_name
        The class of every label, as for masks of single objects; empty where labels differ.
    ignore_label
        The label of voxels that nobody annotated; None where there is none.
    source
        What errors call it: an option, or the name of a file.
    """

    by_label: Mapping[int, str] = field(default_factory=dict)
    any_name: str = ""
    ignore_label: int | None = None
    source: str = "labels"

    @property
    def class_names(self) -> list[str]:
        """The classes, each once, in the order of the labels as they were given."""
        return list(dict.fromkeys([*self.by_label.values(), *([self.any_name] if self.any_name else [])]))

    def label_map(
        self, classes: tuple[ClassInfo, ...], *, by_person: bool
    ) -> tuple[LabelMap, dict[int, str]]:
        """What the labels mean for a model, by the names of its classes.

        Objects that were pointed at are of their class: "lesion 1" and "lesion 2" are both a lesion, unless
        the model has such a class itself.

        Parameters
        ----------
        classes
            Of the model.
        by_person
            Whether a person said what the labels mean: then labels that are left out are background, and
            every name must be that of a class.

        Returns
        -------
        label_map
            Of the labels of classes that the model knows.
        unknown_labels
            The names of those that it does not know, by label.

        Raises
        ------
        BadInput
            If no label is a class of the model, or a person named one that it does not have.
        """
        names = [c.name for c in classes]
        if self.any_name:
            if len(classes) > 1:
                remedy = f"say which label is which of {', '.join(names)}"
                raise BadInput(self.source, "'any' needs a model of one class", remedy)
            if self.any_name not in names:
                raise BadInput(
                    self.source, f"the model has no class {self.any_name!r}", f"write any={names[0]}"
                )
            return LabelMap(classes, None, self.source, several_are_one_class=True), {}
        if by_person:
            return LabelMap(classes, self.by_label, self.source, others_are_background=True), {}
        found = {label: _class_of(name, names) for label, name in self.by_label.items()}
        known = {label: name for label, name in found.items() if name}
        unknown = {label: name for label, name in self.by_label.items() if label not in known}
        if not known:
            label, name = next(iter(unknown.items()))
            remedy = f"the model knows {', '.join(names)}: rename it, or give --labels"
            raise BadInput(self.source, f"label {label_text(label)} is {name!r}", remedy)
        return LabelMap(classes, known, self.source), unknown


def _class_of(name: str, names: list[str]) -> str:
    """The class of a label, among those of a model; empty where it has none."""
    if name in names:
        return name
    numbered = class_and_number(name)
    return numbered[0] if numbered is not None and numbered[0] in names else ""


def parse_label_names(value: LabelsOption) -> LabelNames:
    """What the labels mean, from an option, a file or a mapping.

    Parameters
    ----------
    value
        ``"17=hippocampus,53=hippocampus"``; ``"any=lesion"``; ``"#800000=liver"`` for a colour;
        ``"255=ignore"``; a file as `read_label_file` takes it; or a mapping of the same.

    Raises
    ------
    BadInput
        If it is none of these.

    Examples
    --------
    >>> parse_label_names("17=hippocampus,255=ignore")
    LabelNames(by_label={17: 'hippocampus'}, any_name='', ignore_label=255, source='labels')
    """
    if isinstance(value, Mapping):
        return _from_pairs([(str(k), str(v)) for k, v in value.items()], "labels")
    text = str(value)
    if not text.strip():
        raise BadInput("labels", "is empty", _REMEDY)
    if "=" not in text:
        return read_label_file(Path(text))
    pairs = []
    for part in text.split(","):
        label, equals, name = part.partition("=")
        if not equals:
            raise BadInput("labels", f"{part.strip()!r} says no label", _REMEDY)
        pairs.append((label, name))
    return _from_pairs(pairs, "labels")


def read_label_file(path: Path) -> LabelNames:
    """What the labels mean, from a file.

    JSON with numbers and names either way round, alone or under "labels" (nnU-Net, Medical Decathlon); the
    tables of ITK-SNAP, FreeSurfer and CVAT; or lines with a number and a name.

    Raises
    ------
    BadInput
        If it cannot be read, or says nothing of labels.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadInput(path, "is missing or not readable", _REMEDY) from error
    if path.suffix.lower() != ".json":
        return _from_pairs([pair for line in text.splitlines() if (pair := _pair_of_line(path, line))], path)
    try:
        content = load_json(text)
    except ValueError as error:
        raise BadInput(path, "is missing or not readable", "correct it: it is not valid JSON") from error
    table = content.get("labels", content) if isinstance(content, dict) else None
    if not isinstance(table, dict) or not all(isinstance(v, int | str) for v in table.values()):
        raise BadInput(path, "does not name its labels, each with one number", "give names and numbers")
    are_numbers_first = all(isinstance(v, str) for v in table.values())
    return _from_pairs(
        [(str(k), str(v)) if are_numbers_first else (str(v), str(k)) for k, v in table.items()], path
    )


def _pair_of_line(path: Path, line: str) -> tuple[str, str] | None:
    line = line.strip()
    if not line or line.startswith(("# ", "#\t", "//")) or line == "#":
        return None
    if match := _CVAT_LINE.fullmatch(line):
        name, *color = match.groups()
        return "#" + "".join(f"{int(channel):02x}" for channel in color), name
    if (match := _SNAP_LINE.fullmatch(line)) or (match := _PLAIN_LINE.fullmatch(line)):
        return match.group(1), match.group(2)
    raise BadInput(path, f"has a line that names no label: {line[:40]!r}", "write a number and a name a line")


def _from_pairs(pairs: list[tuple[str, str]], source: object) -> LabelNames:
    """Names from labels and names as text."""
    subject = source.name if isinstance(source, Path) else str(source)
    by_label: dict[int, str] = {}
    any_name, ignore_label = "", None
    for label_part, name_part in pairs:
        label, name = label_part.strip().lower(), name_part.strip()
        if not name:
            raise BadInput(subject, f"label {label_part.strip()!r} has no name", _REMEDY)
        if label == _ANY:
            if any_name not in ("", name):
                raise BadInput(subject, f"calls any label both {any_name!r} and {name!r}", "give one name")
            any_name = name
            continue
        number = _parse_label(label)
        if number is None:
            raise BadInput(subject, f"{label_part.strip()!r} is not a label", _REMEDY)
        # labels without a class are called so in the data set of an annotation store, and no voxel has them
        if number in (0, COLOR_LABEL) or name.casefold() == _BACKGROUND or name == f"unused {number}":
            continue
        if name.casefold() == _IGNORE:
            if ignore_label not in (None, number):
                why = f"ignores {label_text(ignore_label)} and {label_text(number)}"
                raise BadInput(subject, why, "give one label to what nobody annotated")
            ignore_label = number
        elif by_label.setdefault(number, name) != name:
            why = f"calls label {label_text(number)} both {by_label[number]!r} and {name!r}"
            raise BadInput(subject, why, "give each label one name")
    if any_name and by_label:
        raise BadInput(
            subject, "names a class for any label, and for single ones", "give the one or the other"
        )
    if not any_name and not by_label:
        raise BadInput(subject, "names no label", _REMEDY)
    return LabelNames(by_label, any_name, ignore_label, subject)


def _parse_label(text: str) -> int | None:
    """The number of a label, or of a colour as ``#rrggbb``."""
    if re.fullmatch(r"#[0-9a-f]{6}", text):
        return COLOR_LABEL + int(text[1:], 16)
    return int(text) if text.isdecimal() and int(text) < COLOR_LABEL else None

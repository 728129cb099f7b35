"""Lists of training, validation and test images, in the files that authors publish them in."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, TypeVar

from napari_latentseg.errors import BadInput
from napari_latentseg.io import stem_of
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.written_tables import decoded_table

__all__ = ["ListPart", "SplitLists", "read_split_lists"]

ListPart = Literal["train", "validation", "test", ""]
"""A part of a data set; ``""`` for a plain list whose file does not say which part it is."""

_PARTS: dict[str, ListPart] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
_NAME_COLUMNS = ("name", "image", "file", "filename", "case", "id", "image_id")
_PART_COLUMNS = ("split", "part", "subset", "set")
_MASK_ENDING = re.compile(r"[ _-](?:mask|seg|segmentation|label|labels|gt)$", re.IGNORECASE)
_MAX_BYTES = 64 * 2**20  # a million names; more is some other file
_SHOWN_NAMES = 3
_REMEDY = (
    "give JSON or a pickle with lists under train, validation and test, a table with the columns name and"
    " split, or one name a line"
)

# The opcodes of lists, dictionaries, tuples, text and numbers. None of them looks up or calls anything.
_PLAIN_OPCODES = frozenset(
    [
        *("PROTO", "FRAME", "STOP", "MARK", "NONE", "BININT", "BININT1", "BININT2"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("LIST", "EMPTY_LIST", "APPEND", "APPENDS", "DICT", "EMPTY_DICT", "SETITEM", "SETITEMS"),
        *("TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    ]
)


class _Named(Protocol):
    """An item that a list can name, by its file name without the ending."""

    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)


@dataclass(frozen=True)
class SplitLists:
    """Names of images by part.

    Attributes
    ----------
    subject
        What messages call the lists: the name of the file, or of the files.
    names
        The names of each part, as written, without the endings of image formats.
    """

    subject: str
    names: Mapping[ListPart, tuple[str, ...]]

    def has(self, part: ListPart) -> bool:
        """Whether there is a list of this part."""
        return bool(self.names.get(part))

    def part_of_each(
        self, cases: Sequence[Named], data_sets: Sequence[str] | None = None
    ) -> list[ListPart | None]:
        """The part of each case; None for one that is in no list.

        A name is that of a case where they are equal, or else where they are equal but for case, spaces and
        punctuation, or for an ending such as ``_mask``: ``benign (1)`` is ``benign_1``. Folders before the
        name count only where several cases have it: then the name of the data set must be one of them.

        Parameters
        ----------
        cases
            All images that there are.
        data_sets
            The name of the data set of each case, where there may be several.

        Raises
        ------
        BadInput
            If a list names an image that is not among them, or several images have the name.
        """
        cases_of = _CasesByName(cases, data_sets or [""] * len(cases))
        parts: list[ListPart | None] = [None] * len(cases)
        missing: list[str] = []
        for part, names in self.names.items():
            for name in names:
                found = cases_of.find(name)
                if len(found) > 1:
                    raise BadInput(self.subject, *cases_of.ambiguity(name, found))
                if not found:
                    missing.append(name)
                elif parts[found[0]] not in (None, part):
                    why = f"names {name!r} in the lists {parts[found[0]]} and {part}"
                    raise BadInput(self.subject, why, "leave it in one of them")
                else:
                    parts[found[0]] = part
        if missing:
            named = ", ".join(missing[:_SHOWN_NAMES]) + (", ..." if len(missing) > _SHOWN_NAMES else "")
            images = "an image that is" if len(missing) == 1 else f"{len(missing)} images that are"
            raise BadInput(
                self.subject, f"names {images} not in the data: {named}", "give the folder of this list"
            )
        return parts


class _CasesByName:
    """Finds the cases that a list means by a name."""

    def __init__(self, cases: Sequence[Named], data_sets: Sequence[str]) -> None:
        self._data_sets = data_sets
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_loose_name: dict[str, list[int]] = defaultdict(list)
        for i, case in enumerate(cases):
            self._by_name[case.name].append(i)
            self._by_loose_name[_loose(case.name)].append(i)

    def find(self, name: str) -> list[int]:
        """The indices of the cases that have this name."""
        path = PurePosixPath(name)
        found = self._by_name.get(path.name) or self._by_loose_name.get(_loose(path.name), [])
        if len(found) < 2:
            return found
        return [i for i in found if self._data_sets[i] in path.parts[:-1]] or found

    def ambiguity(self, name: str, found: Sequence[int]) -> tuple[str, str]:
        """What is wrong with a name that several cases have, and what to do."""
        name = PurePosixPath(name).name
        data_sets = [self._data_sets[i] for i in found]
        if len(set(data_sets)) < len(found):
            return f"names {name!r}, and {len(found)} images are called so", "give each image its own name"
        return (
            f"names {name!r}, which is in {' and in '.join(data_sets)}",
            f"write the folder before each name, as in {data_sets[0]}/{name}",
        )


def read_split_lists(paths: Sequence[Path]) -> SplitLists:
    """Read lists of images from one file, or from several with a part each.

    Parameters
    ----------
    paths
        JSON or a pickle with lists under ``train``, ``validation`` (or ``val``) and ``test``, each perhaps
        under ``name_list`` as those of GMS; CSV or TSV with the columns ``name`` and ``split``; or text with
        one name a line, in a file whose name says the part, such as ``train.txt``.

    Returns
    -------
    SplitLists
        All lists together.

    Raises
    ------
    BadInput
        If a file cannot be read or is no such list. A pickle that holds anything but lists, dictionaries,
        text and numbers is refused; nothing in it is run.

    Examples
    --------
    >>> path = Path("split.json")
    >>> _ = path.write_text('{"train": ["a.png", "b.png"], "test": ["c.png"]}')
    >>> read_split_lists([path]).names
    {'train': ('a', 'b'), 'test': ('c',)}
    """
    names: dict[ListPart, list[str]] = {}
    for path in paths:
        for part, entries in _read(Path(path)).items():
            names.setdefault(part, []).extend(entries)
    subject = ", ".join(Path(path).name for path in paths)
    if not any(names.values()):
        raise BadInput(subject, "names no image", _REMEDY)
    return SplitLists(subject, {part: tuple(dict.fromkeys(entries)) for part, entries in names.items()})


def _read(path: Path) -> dict[ListPart, list[str]]:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise BadInput(path, f"has {size / 2**20:.0f} MB, too much for a list of names", _REMEDY)
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})", "check the path") from error
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        return _from_object(_load_pickle(content, path), path)
    if suffix in (".csv", ".tsv"):
        return _from_table(decoded_table(content, path, _REMEDY), path)
    try:
        text = content.decode("utf-8-sig")
        json_content = load_json(text) if suffix == ".json" else None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are such
        raise BadInput(path, "is not a list of names", _REMEDY) from error
    if suffix == ".json":
        return _from_object(json_content, path)
    lines = [line.strip() for line in text.splitlines()]
    return {_part_of_file(path): [_stem(line) for line in lines if line and not line.startswith("#")]}


def _load_pickle(content: bytes, path: Path) -> Any:
    """A pickle of plain values. Its opcodes are looked at before anything is built."""
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name not in _PLAIN_OPCODES:
                raise BadInput(path, "holds more than lists of names, so it is not read", _REMEDY)
            # the unpickler reserves memory for the number of a stored value
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
                raise BadInput(path, "is damaged", _REMEDY)
        return _PlainUnpickler(io.BytesIO(content)).load()
    except BadInput:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise BadInput(path, "is no pickle of lists", _REMEDY) from error


class _PlainUnpickler(pickle.Unpickler):
    """Looks up no class and no function, whatever the pickle says."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not read")


def _from_object(content: Any, path: Path) -> dict[ListPart, list[str]]:
    """The lists of what a JSON file or a pickle holds."""
    if isinstance(content, list) and all(isinstance(fold, dict) for fold in content) and content:
        if len(content) > 1:  # nnU-Net's splits_final.json
            raise BadInput(path, f"holds {len(content)} splits", "write the one that you want into a file")
        content = content[0]
    if isinstance(content, list):
        return {_part_of_file(path): _entries(content, path)}
    if not isinstance(content, dict):
        raise BadInput(path, "is not a list of names", _REMEDY)
    parts: dict[ListPart, list[str]] = {}
    for key, value in content.items():
        part = _PARTS.get(str(key).lower())
        if part is None:
            continue
        names = value.get("name_list") if isinstance(value, dict) else value
        parts[part] = _entries(names, path)
    if not parts:
        raise BadInput(path, "has no list under train, validation or test", _REMEDY)
    return parts


def _entries(value: Any, path: Path) -> list[str]:
    if not isinstance(value, list | tuple):
        raise BadInput(path, "is not a list of names", _REMEDY)
    # MONAI's lists have an object with the paths of image and label for each case
    entries = [entry.get("image") if isinstance(entry, dict) else entry for entry in value]
    names = [entry for entry in entries if isinstance(entry, str)]
    if len(names) < len(entries):
        raise BadInput(path, "is not a list of names", _REMEDY)
    return [_stem(name) for name in names]


def _from_table(rows: list[list[str]], path: Path) -> dict[ListPart, list[str]]:
    headings = [heading.strip().lower() for heading in rows[0]] if rows else []
    name_column = next((name for name in _NAME_COLUMNS if name in headings), None)
    part_column = next((name for name in _PART_COLUMNS if name in headings), None)
    if name_column is None:
        raise BadInput(path, "has no column name", _REMEDY)
    parts: dict[ListPart, list[str]] = {}
    for row in rows[1:]:
        values = dict(zip(headings, (value.strip() for value in row), strict=False))
        if not any(values.values()):
            continue
        word = values.get(part_column, "").lower() if part_column is not None else ""
        part = _PARTS.get(word) if part_column is not None else _part_of_file(path)
        if part is None:
            why = f"has {word!r} in the column {part_column}"
            raise BadInput(path, why, "write train, validation or test")
        if name := values.get(name_column, ""):
            parts.setdefault(part, []).append(_stem(name))
    return parts


def _part_of_file(path: Path) -> ListPart:
    """The part that the name of a file says: ``test`` before ``val``, for STS's ``valtest.txt`` is a test."""
    stem = path.stem.lower()
    for word in ("test", "train", "val"):
        if word in stem:
            return _PARTS[word]
    return ""


def _stem(name: str) -> str:
    """A name, with the folders before it, without the ending of an image format."""
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.parent / stem_of(Path(path.name)))


def _loose(name: str) -> str:
    """A name without the characters in which spellings differ."""
    return re.sub(r"[\W_]+", "_", _MASK_ENDING.sub("", name).lower()).strip("_")

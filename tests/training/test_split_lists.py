"""Lists of training, validation and test images, in the files that authors publish."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.training.split_lists import read_split_lists

NAMES = {"train": ("a", "b"), "test": ("c",)}


def gms_pickle(path: Path, protocol: int = 4) -> Path:
    """A pickle of names as GMS publishes them."""
    content = {part: {"name_list": list(names)} for part, names in NAMES.items()}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, "utf-8")
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_gms_pickles_are_read_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    assert read_split_lists([gms_pickle(tmp_path / "names.pkl", protocol)]).names == NAMES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.json", '{"train": ["a.png", "b.jpg"], "test": ["masks/c.png"]}'),
        ("s.json", '{"Training": {"name_list": ["a", "b"]}, "testing": ["c"], "comment": "mine"}'),
        ("s.json", '[{"train": ["a", "b"], "test": ["c"]}]'),
        (
            "s.json",
            '{"training": [{"image": "i/a.nii.gz", "label": 1}, {"image": "b.nii"}], "test": ["c"]}',
        ),
        ("s.csv", "name,split\na.png,train\nb.png,Train\nc.png,test\n"),
        ("s.tsv", "split\timage\ntrain\ta\ntrain\tb\ntest\tc\n"),
        ("s.csv", "\ufeffimage,subset\na,train\nb,train\nc,test\n"),
    ],
)
def test_json_and_tables_are_read(tmp_path: Path, name: str, content: str) -> None:
    assert read_split_lists([text(tmp_path / name, content)]).names == NAMES


def test_text_says_its_part_by_the_name_of_the_file(tmp_path: Path) -> None:
    train = text(tmp_path / "train.txt", "a.png\n\n# two images\nfolder\\b.png\n")
    lists = read_split_lists([train, text(tmp_path / "valtest.txt", "c\n")])
    assert lists.names == NAMES
    assert read_split_lists([text(tmp_path / "mine.txt", "a\na\nb\n")]).names == {"": ("a", "b")}


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("value", [Evil(), {"train": [Evil()]}, {"train": {"a"}}, Path("a"), 1.5j])
def test_a_pickle_that_could_do_something_is_not_read(
    tmp_path: Path, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(BadInput, match=r"x\.pkl: holds more than lists of names, so it is not read"):
        read_split_lists([path])
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps(NAMES)[:-3],
        b"\x80\x04]r\xff\xff\xff\x7f.",  # a list, stored under number 2,147,483,647
        pickle.dumps(7),
        b"\x80\x04]q",
    ],
)
def test_damaged_pickles_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"x\.pkl: is (no|damaged)"):
        read_split_lists([path])


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("s.json", "{", "is no list of names"),
        ("s.json", "7", "is no list of names"),
        ("s.json", '{"train": 3}', "is no list of names"),
        ("s.json", '{"train": [3]}', "is no list of names"),
        ("s.json", '{"left": ["a"]}', "has no list under train, validation or test"),
        ("s.json", '{"train": []}', "names no image"),
        ("s.json", '[{"train": ["a"]}, {"train": ["b"]}]', "holds 2 splits; write the one that you want"),
        ("s.csv", "name,split\na,left\n", "has 'left' in the column split"),
        ("s.csv", "a;b\na;train\n", "has no column name"),
        ("train.txt", "\n\n", "names no image"),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path: Path, name: str, content: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        read_split_lists([text(tmp_path / name, content)])


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"lost\.txt: cannot be read"):
        read_split_lists([tmp_path / "lost.txt"])


def cases(*names: str) -> list[Any]:
    return [SimpleNamespace(name=name) for name in names]


def test_names_are_matched_in_their_spellings(tmp_path: Path) -> None:
    path = text(tmp_path / "s.json", '{"train": ["Benign (1).png", "x_mask.png"], "test": ["benign_10"]}')
    parts = read_split_lists([path]).part_of_each(cases("benign_10", "benign_1", "x", "y"))
    assert parts == ["test", "train", "train", None]


def test_a_spelling_that_fits_two_images_fits_none(tmp_path: Path) -> None:
    lists = read_split_lists([text(tmp_path / "train.txt", "A 1\n")])
    with pytest.raises(BadInput, match="names an image that is not in the data: A 1"):
        lists.part_of_each(cases("a_1", "a-1"))


def test_names_that_are_not_there_are_said_with_the_first(tmp_path: Path) -> None:
    lists = read_split_lists([text(tmp_path / "train.txt", "a\nb\nc\nd\ne\n")])
    message = r"train\.txt: names 4 images that are not in the data: b, c, d, \.\.\.; give the folder"
    with pytest.raises(BadInput, match=message):
        lists.part_of_each(cases("a"))


def test_an_image_in_two_lists_is_refused(tmp_path: Path) -> None:
    lists = read_split_lists([text(tmp_path / "s.json", '{"train": ["a"], "test": ["a"]}')])
    with pytest.raises(BadInput, match="names 'a' in the lists train and test"):
        lists.part_of_each(cases("a"))

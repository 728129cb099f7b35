"""Lists of training, validation and test images, in the files that authors publish."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import with_changes
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.dataset import read_dataset
from napari_latentseg.training.datasets import find_datasets
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
        ("s.json", '{"train": ["a.png", "b.jpg"], "test": ["c.png"]}'),
        ("s.json", '{"Training": {"name_list": ["a", "b"]}, "testing": ["c"], "comment": "mine"}'),
        ("s.json", '[{"train": ["a", "b"], "test": ["c"]}]'),
        (
            "s.json",
            '{"training": [{"image": "a.nii.gz", "label": 1}, {"image": "b.nii"}], "test": ["c"]}',
        ),
        ("s.csv", "name,split\na.png,train\nb.png,Train\nc.png,test\n"),
        ("s.tsv", "split\timage\ntrain\ta\ntrain\tb\ntest\tc\n"),
        ("s.csv", "\ufeffimage,subset\na,train\nb,train\nc,test\n"),
    ],
)
def test_json_and_tables_are_read(tmp_path: Path, name: str, content: str) -> None:
    assert read_split_lists([text(tmp_path / name, content)]).names == NAMES


def test_text_says_its_part_by_the_name_of_the_file(tmp_path: Path) -> None:
    train = text(tmp_path / "train.txt", "a.png\n\n# two images\nb.png\n")
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
        ("s.json", "{", "is not a list of names"),
        ("s.json", "7", "is not a list of names"),
        ("s.json", '{"train": 3}', "is not a list of names"),
        ("s.json", '{"train": [3]}', "is not a list of names"),
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


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_any_spreadsheet_is_read(tmp_path: Path, delimiter: str) -> None:
    rows = [("Name", "split"), ("a.png", "train"), ("", ""), ("b.png", "test")]
    content = "\r\n".join(delimiter.join(row) for row in rows)
    found = read_split_lists([text(tmp_path / "s.csv", content)])
    assert found.names == {"train": ("a",), "test": ("b",)}


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
    with pytest.raises(BadInput, match="names 'A 1', and 2 images are called so; give each image its own"):
        lists.part_of_each(cases("a_1", "a-1"))


def test_folders_tell_apart_images_of_one_name(tmp_path: Path) -> None:
    path = text(
        tmp_path / "s.csv", "name,split\ndata/one/images/x.png,train\ntwo\\x.nii.gz,test\nz/y.png,train\n"
    )
    parts = read_split_lists([path]).part_of_each(cases("x", "x", "y"), ["one", "two", "two"])
    assert parts == ["train", "test", "train"]  # of a name that only one image has, folders do not count


@pytest.mark.parametrize("name", ["x.png", "three/x.png"])
def test_a_name_of_images_in_two_data_sets_is_refused(tmp_path: Path, name: str) -> None:
    lists = read_split_lists([text(tmp_path / "train.txt", name)])
    message = "names 'x', which is in one and in two; write the folder before each name, as in one/x"
    with pytest.raises(BadInput, match=message):
        lists.part_of_each(cases("x", "x"), ["one", "two"])


def test_names_that_are_not_there_are_said_with_the_first(tmp_path: Path) -> None:
    lists = read_split_lists([text(tmp_path / "train.txt", "a\nb\nc\nd\ne\n")])
    message = r"train\.txt: names 4 images that are not in the data: b, c, d, \.\.\.; give the folder"
    with pytest.raises(BadInput, match=message):
        lists.part_of_each(cases("a"))


def test_an_image_in_two_lists_is_refused(tmp_path: Path) -> None:
    lists = read_split_lists([text(tmp_path / "s.json", '{"train": ["a"], "test": ["a"]}')])
    with pytest.raises(BadInput, match="names 'a' in the lists train and test"):
        lists.part_of_each(cases("a"))


@pytest.fixture
def data(write_ellipses: Callable[..., Path], tmp_path: Path) -> Path:
    return write_ellipses(tmp_path / "data", 8)


def split_config(tmp_path: Path, lists: dict[str, list[int]], **split: Any) -> Any:
    names = {part: [f"case_{i}" for i in numbers] for part, numbers in lists.items()}
    path = text(tmp_path / "split.json", json.dumps(names))
    changes = {"split": {"lists": [str(path)], **split}, "preprocess": {"mode": "whole", "size": 32}}
    return with_changes(load_config("gms-small"), changes)


def hashes_of(data: Path, config: Any, *numbers: int) -> set[str]:
    free = with_changes(config, {"split": {}})
    return {
        case.content_sha256 for case in find_datasets([data], free)[0].cases if int(case.name[-1]) in numbers
    }


def test_a_training_follows_its_lists(tmp_path: Path, data: Path) -> None:
    config = split_config(tmp_path, {"train": [0, 1, 2], "val": [3], "test": [4, 5]})
    read = read_dataset(data, config)
    assert {s.content_sha256 for s in read.train} == hashes_of(data, config, 0, 1, 2)
    assert {s.content_sha256 for s in read.validation} == hashes_of(data, config, 3)
    assert read.notes == (
        "2 images of data are in no list and are not used",
        "2 images of data are in the test list and are not used",
    )


def test_a_data_set_of_which_no_image_is_listed_is_refused(
    tmp_path: Path, data: Path, write_ellipses: Callable[..., Path]
) -> None:
    config = split_config(tmp_path, {"train": [8], "val": [9]})
    other = write_ellipses(tmp_path / "other", 10)
    why = r"split\.json: names no image of data for training or validation; leave out this folder"
    with pytest.raises(BadInput, match=why):
        read_dataset([data, other], config)


def test_without_a_validation_list_some_training_images_are_held_out(tmp_path: Path, data: Path) -> None:
    config = split_config(tmp_path, {"train": [0, 1, 2, 3], "test": [4, 5, 6, 7]}, fraction=0.25)
    read = read_dataset(data, config)
    used = {s.content_sha256 for s in [*read.train, *read.validation]}
    assert used == hashes_of(data, config, 0, 1, 2, 3)
    assert len(read.validation) == 1


def test_selection_on_the_test_list_is_called_so(tmp_path: Path, data: Path) -> None:
    lists = {"train": [0, 1, 2, 3], "test": [4, 5, 6, 7]}
    config = split_config(tmp_path, lists, select_on="test")
    read = read_dataset(data, config)
    assert {s.content_sha256 for s in read.validation} == hashes_of(data, config, 4, 5, 6, 7)
    assert read.notes == (
        "the weights are selected on the 4 images of the test list of data,"
        " so that their score is not a test result",
    )


def test_an_image_under_two_names_is_told(tmp_path: Path, data: Path) -> None:
    for part in ("images", "masks"):
        (data / part / "case_8.png").write_bytes((data / part / "case_0.png").read_bytes())
    read = read_dataset(data, split_config(tmp_path, {"train": [0, 1], "validation": [8]}))
    assert (len(read.train), len(read.validation)) == (2, 1)
    assert "1 validation images of the lists are training images too, under other names" in read.notes


@pytest.mark.parametrize(
    ("lists", "split", "why"),
    [
        ({"test": [1]}, {}, "has no list of train images"),
        ({"train": [1]}, {"select_on": "test"}, "has no list of test images"),
        ({"train": [1, 9], "test": [2]}, {}, "names an image that is not in the data: case_9"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    tmp_path: Path, data: Path, lists: dict[str, list[int]], split: dict[str, str], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        find_datasets([data], split_config(tmp_path, lists, **split))


def test_selection_on_a_test_list_needs_one() -> None:
    with pytest.raises(BadInput, match="split: selecting on the test list needs a list"):
        with_changes(load_config("gms-small"), {"split": {"select_on": "test"}})


def test_a_plain_list_says_nothing_of_training(tmp_path: Path, data: Path) -> None:
    path = text(tmp_path / "mine.txt", "case_0\n")
    config = with_changes(load_config("gms-small"), {"split": {"lists": [str(path)]}})
    with pytest.raises(BadInput, match=r"mine\.txt: does not say which images are for training; call the"):
        find_datasets([data], config)

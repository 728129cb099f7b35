"""What a model has seen, in the format of today and in the one before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.models.layout import SPLIT_FILE
from napari_latentseg.models.split import Split, read_split
from napari_latentseg.models.store import embedded_codec


@dataclass
class Image:
    """An image by its hashes; asked for one that is not to be needed, it fails."""

    content: str | None = None
    file: str | None = None
    in_store: bool = False

    @property
    def content_sha256(self) -> str:
        assert self.content is not None, "was decoded"
        return self.content

    @property
    def file_sha256(self) -> str | None:
        assert self.file is not None or self.in_store, "the file was hashed"
        return self.file


def test_an_image_is_found_by_its_content() -> None:
    split = Split(frozenset({"a"}), frozenset({"b"}))
    assert [split.part_of(Image(key)) for key in "abc"] == ["train", "validation", ""]


def test_nothing_is_decoded_for_a_model_that_does_not_say() -> None:
    assert Split().part_of(Image()) == ""


EARLIER = Split(earlier_train=frozenset({"file-a", "content-s"}), earlier_validation=frozenset({"file-b"}))


def test_an_earlier_split_knows_files_and_cases_of_a_store() -> None:
    assert EARLIER.part_of(Image(file="file-a")) == "train"  # needs no decoding
    assert EARLIER.part_of(Image("content-s", in_store=True)) == "train"
    assert EARLIER.part_of(Image("content-s", "file-s")) == "train"  # approved once, and now in a folder
    assert EARLIER.part_of(Image("content-b", "file-b")) == "validation"
    assert EARLIER.part_of(Image("content-c", "file-c")) == ""


def test_what_was_learned_from_is_never_kept_apart_again() -> None:
    new = [Image("content-a", "file-a"), Image("content-n", "file-n")]
    split = EARLIER.extended(train=[Image("content-b", "file-b")], validation=new)
    assert split.train == {"content-b"}
    assert split.validation == {"content-n"}
    assert split.earlier_train == EARLIER.earlier_train
    assert split.earlier_validation == frozenset()
    again = split.extended(train=[Image("content-n", "file-n")], validation=[Image("content-b", "file-b")])
    assert (again.train, again.validation) == ({"content-b", "content-n"}, frozenset())
    assert again.part_of(Image("content-b", "re-saved")) == "train"


@pytest.mark.parametrize(
    "split",
    [Split(), Split(frozenset("ab"), frozenset("c")), EARLIER.extended([Image("x", "y")], [Image("z", "z")])],
    ids=["empty", "new", "with an earlier one"],
)
def test_it_is_read_as_it_was_written(split: Split, tmp_path: Path) -> None:
    (tmp_path / SPLIT_FILE).write_text(json.dumps(split.to_json()))
    assert read_split(tmp_path) == split


def test_one_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / SPLIT_FILE).write_text(json.dumps({"format": 3, "train": []}))
    with pytest.raises(BadInput, match="format 3, which is newer"):
        read_split(tmp_path)


def test_the_splits_of_the_models_that_come_with_the_package_are_understood() -> None:
    paths = sorted(embedded_codec().parent.glob(f"*/{SPLIT_FILE}"))
    assert paths
    for path in paths:
        content, split = json.loads(path.read_text()), read_split(path.parent)
        is_of_files = content.get("format", 1) == 1
        for part in ("train", "validation"):
            images = [Image("decoded", key) if is_of_files else Image(key, "file") for key in content[part]]
            assert {split.part_of(image) for image in images} == {part}

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.helpers.annotated import CLASSES, contents, make_mask

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput


def files(store: AnnotationStore, part: str) -> list[Path]:
    return sorted((store.folder / part).iterdir())


def flip(path: Path, place: int = 100) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def told(store: AnnotationStore) -> list[tuple[str, str]]:
    found = store.verify()
    assert all(f.is_serious for f in found)
    return [(f.file.split("/")[0], f.description) for f in found]


def read_whole(store: AnnotationStore) -> None:
    for case in store.annotated_cases():
        case.read_scan()
        case.read_mask()


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("objects", "the mask of approval 3 is damaged or was changed"),
        ("imagesTr", "the image is damaged or was changed"),
    ],
)
def test_a_flipped_bit_is_found_and_named(filled: AnnotationStore, part: str, what: str) -> None:
    (path,) = files(filled, part)
    flip(path)
    (finding,) = AnnotationStore(filled.folder).verify()
    assert (finding.file, finding.description, finding.is_serious) == (f"{part}/{path.name}", what, True)
    if part == "imagesTr":
        with pytest.raises(BadInput, match="damaged or cut short"):
            read_whole(filled)


@pytest.mark.parametrize(
    ("part", "what"), [("objects", "the mask of approval 3 is missing"), ("imagesTr", "the image is missing")]
)
def test_a_missing_file_is_named(filled: AnnotationStore, part: str, what: str) -> None:
    files(filled, part)[0].unlink()
    assert told(AnnotationStore(filled.folder))[0] == (part, what)


def test_what_is_approved_again_puts_a_damaged_mask_right(filled: AnnotationStore, scan: Scan) -> None:
    flip(files(filled, "objects")[0])
    filled.approve(scan, make_mask(scan), classes=CLASSES)
    assert filled.verify() == []


def test_what_is_made_from_the_journal_is_made_again(filled: AnnotationStore, scan: Scan) -> None:
    before = contents(filled.folder)
    (label,) = files(filled, "labelsTr")
    label.unlink()
    assert told(filled) == [("labelsTr", "is missing; remove it, and the next opening makes it again")]
    again = AnnotationStore(filled.folder)
    assert again.notes == ("labelsTr was brought up to date",)
    assert contents(filled.folder) == before
    (filled.folder / "dataset.json").write_text("{")
    assert told(filled) == [("dataset.json", "is missing or damaged; the next opening makes it again")]
    AnnotationStore(filled.folder)
    assert contents(filled.folder) == before
    flip(label)
    assert told(filled)[0][1].startswith("is damaged or was changed; remove it")


def test_a_damaged_line_costs_its_own_approval_and_nothing_is_cleared_away(
    filled: AnnotationStore, scan: Scan
) -> None:
    filled.approve(scan, make_mask(scan, 1), classes=CLASSES, planes=[2])
    path = filled.folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"false", b"falsy"), *lines[3:]]))
    before = contents(filled.folder)
    again = AnnotationStore(filled.folder)
    assert again.approved_planes(scan) == (2,)
    assert any("the journal is damaged in line 3" in note for note in again.notes)
    serious = [f for f in again.verify() if f.is_serious]
    assert serious[0].file == "journal.jsonl"
    assert "line 3 is damaged" in serious[0].description
    assert contents(filled.folder) == before  # labelsTr still has what that line said
    again.approve(scan, make_mask(scan), classes=CLASSES, planes=[0])
    assert again.approved_planes(scan) == (0, 2)
    for name, content in before.items():
        if name.startswith("objects/"):
            assert (filled.folder / name).read_bytes() == content


def test_what_is_not_ours_is_left_and_named(filled: AnnotationStore) -> None:
    for name in ("objects/mine.nii.gz", "labelsTr/mine.nii.gz", "imagesTr/mine_0000.nii.gz"):
        (filled.folder / name).write_text("mine")
    again = AnnotationStore(filled.folder)
    found = again.verify()
    assert {f.file for f in found} == {
        "objects/mine.nii.gz", "labelsTr/mine.nii.gz", "imagesTr/mine_0000.nii.gz"
    }  # fmt: skip
    assert {(f.description, f.is_serious) for f in found} == {("is part of no approval", False)}
    assert np.array_equal(again.annotated_cases()[0].annotated_slices, range(6))


def test_another_mask_under_the_name_of_one_is_no_mask(filled: AnnotationStore, scan: Scan) -> None:
    (big,) = files(filled, "objects")
    filled.approve(scan, make_mask(scan), classes=CLASSES, planes=[1])
    small = next(path for path in files(filled, "objects") if path != big)
    big.write_bytes(small.read_bytes())
    with pytest.raises(BadInput, match="is not the mask that was approved"):
        read_whole(AnnotationStore(filled.folder))

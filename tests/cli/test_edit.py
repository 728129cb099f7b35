"""`edit`: a mask file corrected without a brush."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_latentseg import Scan, edit_mask, read_scan
from napari_latentseg.errors import BadInput

OBLIQUE = np.array(
    [[0.68, 0.1, 0.3, 10.0], [-0.1, 0.69, 0.2, -4.0], [-0.25, -0.2, 2.9, 7.0], [0.0, 0.0, 0.0, 1.0]]
)


@pytest.fixture
def mask_file(tmp_path: Path) -> Path:
    """Two labels in an oblique volume (x, y, z), the first with a hole, an island and empty slices."""
    labels = np.zeros((30, 28, 12), np.uint8)
    labels[8:20, 8:20, 2:10:3] = 1
    labels[12, 12, 2] = 0
    labels[1, 1, 2] = 1
    labels[20:24, 8:20, 2:9] = 2
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(labels, OBLIQUE), path)
    return path


def test_every_step_in_one_command_keeps_the_geometry(cli, mask_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "edited.nii.gz"
    options = ("--fill-between", "--holes", "--islands", "keep-largest", "--grow", 0.8, "--smooth", 0.3)
    ended = cli("edit", mask_file, *options, "--label", 1, "-o", out)
    assert (ended.code, ended.errors) == (0, [])
    before, after = nib.load(mask_file), nib.load(out)
    assert np.allclose(after.affine, OBLIQUE, atol=1e-4)
    old, new = np.asarray(before.dataobj), np.asarray(after.dataobj)
    assert np.array_equal(old == 2, new == 2)
    assert (new[10:18, 10:18, 2:9] == 1).all()
    assert new[1, 1, 2] == 0
    assert (new[7, 10:18, 5] == 1).all()  # 0.74 mm a voxel
    expected = edit_mask(
        mask_file, label=1, fill_between=True, fill_holes=True, islands="keep-largest", grow=0.8, smooth=0.3
    )
    assert np.array_equal(np.asarray(read_scan(out).array), expected.array)


def test_a_length_that_changes_nothing_is_said(cli, mask_file: Path, tmp_path: Path) -> None:
    ended = cli("edit", mask_file, "--grow", -0.01, "-o", tmp_path / "same.nii.gz")
    assert ended.code == 0
    assert ended.out.splitlines()[0] == "note: no voxel was changed"
    ended = cli("edit", mask_file, "--grow", -2, "-o", tmp_path / "smaller.nii.gz")
    assert "no voxel" not in ended.out


def test_islands_below_a_size_in_mm3_and_in_a_photograph_in_pixels(
    cli, mask_file: Path, tmp_path: Path
) -> None:
    volume = float(np.abs(np.linalg.det(OBLIQUE)))
    assert edit_mask(mask_file, islands=2 * volume).array.max() == 2
    assert edit_mask(mask_file, islands=2 * volume, label=1).array[2, 1, 1] == 0
    mask = np.zeros((40, 40), np.uint8)
    mask[2:12, 2:12] = mask[20:22, 20:22] = mask[30, 30] = 1
    edited = edit_mask(mask, islands=4)
    assert int(edited.array.sum()) == 104
    assert edited.geometry.units == ("pixel", "pixel")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "nothing is asked for"),
        (("--label", 3, "--holes"), "does not hold 3"),
        (("--islands", "biggest"), "is not known"),
        (("--smooth", -1), "is not possible"),
        (("--grow", "nan"), "is not possible"),
    ],
)
def test_what_is_refused_writes_nothing(refused, mask_file: Path, tmp_path: Path, options, why) -> None:
    out = tmp_path / "edited.nii.gz"
    assert why in refused("edit", mask_file, *options, "-o", out)
    assert not out.exists()


def test_no_file_is_written_over(refused, mask_file: Path, tmp_path: Path) -> None:
    before = mask_file.read_bytes()
    assert "the mask itself" in refused("edit", mask_file, "--holes", "-o", mask_file, "--overwrite")
    link = tmp_path / "link.nii.gz"
    link.symlink_to(mask_file)
    assert "the mask itself" in refused("edit", mask_file, "--holes", "-o", link, "--overwrite")
    other = tmp_path / "other.nii.gz"
    other.write_bytes(before)
    assert "already exists" in refused("edit", mask_file, "--holes", "-o", other)
    assert mask_file.read_bytes() == other.read_bytes() == before
    (tmp_path / "photo.json").write_text(json.dumps({}))
    refused("edit", tmp_path / "photo.json", "--holes", "-o", tmp_path / "x.nii.gz")


def test_an_image_with_colours_is_no_mask() -> None:
    with pytest.raises(BadInput, match="has channels"):
        edit_mask(np.zeros((20, 20, 3), np.uint8), grow=1)
    scan = edit_mask(np.pad(np.ones((4, 4), bool), 3), grow=1)
    assert isinstance(scan, Scan)
    assert int(scan.array.sum()) == 16 + 16


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.full((5, 5), -1), {"grow": 1}, "negative numbers"),  # once made 255 of it
        (np.eye(9, dtype=np.uint8), {"smooth": 1e9}, r"1e\+09 pixel is more than the mask is large"),
        (np.eye(9, dtype=np.uint8), {"grow": 1e308, "spacing": 0.01}, "is more than the mask is large"),
    ],
)
def test_what_would_wrap_round_or_fill_the_memory_is_refused(mask, options, message) -> None:
    with pytest.raises(BadInput, match=message):
        edit_mask(mask, **options)


def test_links_that_lead_to_one_another_are_no_file(refused, mask_file: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop.nii.gz"
    loop.symlink_to(loop)
    assert "no such file" in refused("edit", loop, "--grow", 1, "-o", tmp_path / "edited.nii.gz")
    assert "already exists" in refused("edit", mask_file, "--grow", 1, "-o", loop)
    assert "already exists" in refused("compare", mask_file, mask_file, "--out", loop)


def test_what_a_killed_program_left_half_written_is_removed_after_a_day(
    cli, mask_file: Path, tmp_path: Path
) -> None:
    killed, needed, new = (tmp_path / f".part-{letter * 8}" for letter in "abc")
    for folder in (killed, needed, new):
        folder.mkdir()
        (folder / "mask.nii.gz").write_bytes(b"half")
    (needed / "commit.json").write_text("{}")  # of a result, which is finished when it is written again
    for path in (*killed.iterdir(), killed, *needed.iterdir(), needed):
        os.utime(path, (0, 0))
    assert cli("edit", mask_file, "--grow", 1, "-o", tmp_path / "edited.nii.gz").code == 0
    assert not killed.exists()
    assert needed.exists()
    assert new.exists()

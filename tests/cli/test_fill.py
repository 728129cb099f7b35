"""`fill`: a structure between the slices on which it is labelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_latentseg.inference.fill_run import FillRun


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A volume with a bright block, and a mask of its first and last slice."""
    volume = np.full((40, 48, 5), 40, np.uint8)
    volume[10:30, 12:30] = 200
    mask = np.zeros_like(volume)
    mask[10:30, 12:30, [0, 4]] = 3
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    paths = tmp_path / "volume.nii.gz", tmp_path / "some.nii.gz"
    for path, array in zip(paths, (volume, mask), strict=True):
        nib.save(nib.Nifti1Image(array, affine), path)
    return paths


def test_slices_between_are_filled(
    cli: Callable[..., Any], files: tuple[Path, Path], tiny_prompted_folder: Path, tmp_path: Path
) -> None:
    ended = cli(
        "fill", *map(str, files), "-m", str(tiny_prompted_folder), "-o", str(tmp_path / "out"), "-n", "3"
    )
    assert (ended.code, ended.errors) == (0, [])
    written = nib.load(tmp_path / "out" / "volume_mask.nii.gz")
    mask = np.asarray(written.dataobj) > 0
    for plane in range(5):
        assert mask[12:28, 14:28, plane].all()
        assert not mask[:6, :, plane].any()
    assert (mask[..., [0, 4]] == (np.asarray(nib.load(files[1]).dataobj)[..., [0, 4]] > 0)).all()
    np.testing.assert_allclose(written.affine, nib.load(files[0]).affine)
    assert "2 slices as a person decided" in ended.out


def test_what_is_in_the_way_is_refused_before_anything_is_computed(
    cli: Callable[..., Any],
    files: tuple[Path, Path],
    tiny_prompted_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "volume_mask.nii.gz").write_bytes(b"of a person")
    begun = []
    monkeypatch.setattr(FillRun, "__iter__", lambda self: begun.append(self) or iter(()))
    ended = cli("fill", *map(str, files), "-m", str(tiny_prompted_folder), "-o", str(out), "-n", "3")
    assert ended.code == 2
    assert "volume_mask.nii.gz: already exists" in ended.errors[0]
    assert not begun
    assert (out / "volume_mask.nii.gz").read_bytes() == b"of a person"


def test_a_model_without_prompts_is_refused(
    cli: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path
) -> None:
    ended = cli("fill", *map(str, files), "-m", "retina-vessels", "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert "takes no prompts" in ended.errors[0]
    assert not any((tmp_path / "out").glob("*"))


def test_a_mask_without_a_slice_between_is_refused_by_name(
    cli: Callable[..., Any], files: tuple[Path, Path], tiny_prompted_folder: Path, tmp_path: Path
) -> None:
    scan, mask = files
    values = np.asarray(nib.load(mask).dataobj).copy()
    values[..., 1:4] = values[..., :1]
    full = tmp_path / "full.nii.gz"
    nib.Nifti1Image(values, nib.load(mask).affine).to_filename(full)
    ended = cli("fill", str(scan), str(full), "-m", str(tiny_prompted_folder), "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert ended.errors[0].startswith("error: full.nii.gz: leaves no slice to fill between those")

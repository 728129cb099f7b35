from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_latentseg.errors import BadInput
from napari_latentseg.io import FORMATS, format_for, read_scan, readable_suffixes, registry, stem_of
from napari_latentseg.io.result_names import name_prefix


@pytest.mark.parametrize("name", FORMATS)
def test_the_table_says_what_the_modules_say(name):
    module = format_for(name)
    assert name == module.NAME
    assert set(module.SUFFIXES) == {s for s in readable_suffixes() if registry._SUFFIXES[s] == name}
    assert list(module.SUFFIXES) == sorted(module.SUFFIXES, key=len, reverse=True)
    assert module.RESULT_SUFFIX in readable_suffixes()
    assert callable(module.read)
    assert callable(module.write)


def test_longest_first():
    assert list(readable_suffixes()) == sorted(readable_suffixes(), key=len, reverse=True)


NAMES = {
    "knee.nii.gz": ("knee", "nifti"),
    "knee.2.nii": ("knee.2", "nifti"),
    "KNEE.NII.GZ": ("KNEE", "nifti"),
    "cells.ome.tiff": ("cells", "tiff"),
    "cells.ome.tif": ("cells", "tiff"),
    "cells.TIF": ("cells", "tiff"),
    "a.b.tiff": ("a.b", "tiff"),
    "photo.jpeg": ("photo", "photo"),
    "photo.tif.png": ("photo.tif", "photo"),
    "photo.JPG": ("photo", "photo"),
    "photo.bmp": ("photo", "photo"),
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items(), ids=NAMES.keys())
@pytest.mark.parametrize("kind", [str, Path])
def test_names(name, expected, kind):
    path = kind(f"some.folder/{name}")
    assert (stem_of(path), format_for(path).NAME) == expected


@pytest.mark.parametrize(
    "name", ["notes.txt", "scan.gz", "noending", ".nii.gz", ".png", "png", "a.nii.rar", ""]
)
def test_what_is_not_read(name):
    with pytest.raises(BadInput, match="is a kind of file that is not known"):
        format_for(name)
    assert stem_of(name) == name  # whole: the end of a UID is no suffix


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1.2.840.113619.2.5", "1.2.840.113619.2.6"),
        (
            "CT.1.3.12.2.60064.30000022120808113428000016573",
            "CT.1.3.12.2.60064.30000022120808113428000016574",
        ),
        ("IM-0001.0001", "IM-0001.0002"),
    ],
)
def test_results_of_files_that_are_named_by_a_uid_get_names_of_their_own(first, second):
    assert name_prefix(stem_of(first)) != name_prefix(stem_of(second))
    assert name_prefix(stem_of(first)) == f"{first}_"


def test_a_format_by_its_name_is_text_and_a_file_of_that_name_is_a_path():
    assert format_for("nifti").NAME == "nifti"
    with pytest.raises(BadInput):
        format_for(Path("nifti"))


@pytest.mark.parametrize("kind", [str, Path])
def test_read_scan(tmp_path, kind):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    nib.save(nib.Nifti1Image(array.T, np.eye(4)), tmp_path / "a.nii.gz")
    tifffile.imwrite(tmp_path / "a.tif", array, metadata={"axes": "ZYX"})
    Image.fromarray(array[0]).save(tmp_path / "a.png")
    for name, expected in (("a.nii.gz", array), ("a.tif", array), ("a.png", array[0])):
        scan = read_scan(kind(tmp_path / name))
        assert np.array_equal(scan.array, expected)
        assert scan.source == tmp_path / name
        assert scan.format == format_for(name).NAME


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.png", "no such file"),
        ("folder.png", "is a folder"),
        ("empty.png", "0 bytes"),
        ("empty.nii.gz", "0 bytes"),
        ("notes.txt", "is a kind of file that is not known"),
        ("x" * 4000 + ".png", "cannot be accessed"),
        ("nul\0byte.png", "cannot be accessed|no such file"),
    ],
    ids=lambda text: text[:12].replace("\0", "0"),
)
def test_bad_paths(tmp_path, name, why):
    (tmp_path / "folder.png").mkdir()
    for empty in ("empty.png", "empty.nii.gz", "notes.txt"):
        (tmp_path / empty).touch()
    with pytest.raises(BadInput, match=why) as caught:
        read_scan(tmp_path / name)
    assert "\n" not in str(caught.value)


CONTENTS = {
    "a PNG": (lambda p: Image.new("L", (8, 8)).save(p, "PNG"), r"is a PNG image, .*; add \.png to its name"),
    "a JPEG": (lambda p: Image.new("L", (8, 8)).save(p, "JPEG"), r"a JPEG image, .*; add \.jpg to its name"),
    "a TIFF": (lambda p: Image.new("L", (8, 8)).save(p, "TIFF"), r"a TIFF image, .*; add \.tif to its name"),
    "a NIfTI": (lambda p: p.write_bytes(nifti_bytes()), r"a NIfTI image, .*; add \.nii to its name"),
    "a packed NIfTI": (
        lambda p: p.write_bytes(gzip.compress(nifti_bytes())),
        r"a NIfTI image, .*; add \.nii\.gz to its name",
    ),
    "a GIF": (
        lambda p: Image.new("L", (8, 8)).save(p, "GIF"),
        "is a GIF image, which is not read; save it as",
    ),
    "a HEIC": (
        lambda p: p.write_bytes(b"\0\0\0\x18ftypheic" + bytes(20)),
        "is a HEIC image, which is not read",
    ),
    "a damaged gzip": (
        lambda p: p.write_bytes(b"\x1f\x8b" + bytes(20)),
        "is a kind of file that is not known",
    ),
}


def nifti_bytes() -> bytes:
    return nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4)).to_bytes()


@pytest.mark.parametrize("name", ["IMG_0001", "IMG.HEIC"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_without_a_known_ending_is_called_what_it_holds(tmp_path, kind, name):
    write, message = CONTENTS[kind]
    write(tmp_path / name)
    with pytest.raises(BadInput, match=message):
        read_scan(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BadInput, match="not a file"):
        read_scan(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything")
@pytest.mark.parametrize("ending", [".nii.gz", ".tif", ".png"])
def test_a_file_that_may_not_be_read(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"abc")
    path.chmod(0)
    with pytest.raises(BadInput, match=r"cannot be read \(permission denied\)"):
        read_scan(path)

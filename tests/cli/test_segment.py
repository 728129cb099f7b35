"""`segment`: files in, files out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_latentseg.core.record import RunRecord

RNG = np.random.default_rng(0)
PLANE = RNG.integers(0, 256, (37, 53), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
COS, SIN = np.cos(0.3), np.sin(0.3)
TURNED = np.eye(4)  # turned about z, x and z mirrored, three different steps
TURNED[:3, :3] = np.array([[-COS, -SIN, 0], [-SIN, COS, 0], [0, 0, -1]]) @ np.diag([0.7, 0.8, 2.5])
TURNED[:3, 3] = (12, -30, 7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image of each kind, the last two with a place in the world."""
    Image.fromarray(PLANE).save(tmp_path / "grey.png")
    Image.fromarray(COLOUR).save(tmp_path / "colour.jpg")
    Image.fromarray(np.dstack([COLOUR, PLANE])).save(tmp_path / "alpha.png")
    metadata = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "mm", "PhysicalSizeY": 0.5,
                "PhysicalSizeYUnit": "mm"}  # fmt: skip
    tifffile.imwrite(tmp_path / "disc.ome.tif", PLANE, ome=True, metadata=metadata)
    volume = RNG.integers(-1000, 1000, (20, 24, 3)).astype(np.int16)
    image = nibabel.Nifti1Image(volume, TURNED)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "knee.2.nii.gz")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "stem", "suffix", "shape"),
    [
        ("grey.png", "grey", ".tif", (37, 53)),
        ("colour.jpg", "colour", ".tif", (37, 53)),
        ("alpha.png", "alpha", ".tif", (37, 53)),
        ("disc.ome.tif", "disc", ".tif", (37, 53)),
        ("knee.2.nii.gz", "knee.2", ".nii.gz", (3, 24, 20)),
    ],
)
def test_every_family_is_segmented(
    cli, folder: Path, tiny_model_folder: Path, name: str, stem: str, suffix: str, shape: tuple[int, ...]
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    out = folder / "new" / "out"
    ended = cli("segment", folder / name, "--model", tiny_model_folder, "--samples", 3, "--out", out)
    assert (ended.code, ended.errors) == (0, [])
    expected = [f"{stem}_{part}{suffix}" for part in ("mask", "mean", "variance")] + [f"{stem}_run.json"]
    lines = ended.out.splitlines()
    assert [Path(line).name for line in lines[:4]] == expected
    assert lines[4] == cli("measure", out, "--no-objects").out.splitlines()[0]  # the same size and interval
    assert lines[5:] == ["90 % intervals of 3 samples, not calibrated: the model was not calibrated."]
    assert sorted(p.name for p in out.iterdir()) == sorted(expected)
    arrays = []
    for part in expected[:3]:
        found = sitk.ReadImage(str(out / part))
        arrays.append(sitk.GetArrayFromImage(found))
        assert arrays[-1].shape == shape
        if suffix == ".nii.gz":
            given = sitk.ReadImage(str(folder / name))
            assert found.GetOrigin() == pytest.approx(given.GetOrigin(), abs=1e-4)
            assert found.GetSpacing() == pytest.approx(given.GetSpacing(), abs=1e-4)
            assert found.GetDirection() == pytest.approx(given.GetDirection(), abs=1e-4)
    mask, mean, variance = arrays
    assert (mask.dtype, mean.dtype, variance.dtype) == (np.uint8, np.float32, np.float32)
    assert np.array_equal(mask, mean > 0.5)
    assert 0 < variance.max() <= 0.25
    record = RunRecord.model_validate_json((out / f"{stem}_run.json").read_text("utf-8"))
    assert (record.samples, record.seed, record.complete) == (3, 0, True)
    assert stem not in record.model_dump_json()


def test_the_physical_size_of_a_tiff_is_kept(cli, folder: Path, tiny_model_folder: Path) -> None:
    out = folder / "out"
    assert (
        cli("segment", folder / "disc.ome.tif", "--model", tiny_model_folder, "-n", 3, "--out", out).code == 0
    )
    for part in ("mask", "mean", "variance"):
        with tifffile.TiffFile(out / f"disc_{part}.tif") as tif:
            assert tif.is_ome
            pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
            assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == (0.25, 0.5)
            assert (pixels["PhysicalSizeXUnit"], pixels["PhysicalSizeYUnit"]) == ("mm", "mm")
    record = json.loads((out / "disc_run.json").read_text())
    assert record["volume_unit"] == "mm2"


def test_options_reach_the_run(cli, folder: Path, tiny_model_folder: Path) -> None:
    out = folder / "out"
    ended = cli(
        "segment", folder / "grey.png", "--model", tiny_model_folder, "--out", out, "--sampling", "none",
        "--threshold", 0.3, "--seed", 5, "--device", "cpu", "--precision", "float32",
    )  # fmt: skip
    assert ended.code == 0
    assert ended.out.splitlines()[-1].startswith("no variance: one pass cannot tell")
    record = json.loads((out / "grey_run.json").read_text())
    assert (record["source"], record["samples"], record["threshold"], record["seed"]) == ("none", 1, 0.3, 5)
    assert (record["device"], record["precision"]) == ("cpu", "float32")
    mask, mean = (tifffile.imread(out / f"grey_{part}.tif") for part in ("mask", "mean"))
    assert np.array_equal(mask, mean > np.float32(0.3))
    assert not (out / "grey_variance.tif").exists()


@pytest.mark.parametrize(("asked", "marked"), [("2-3", (1, 2)), ("2", (1,))])
def test_some_slices(cli, folder: Path, tiny_model_folder: Path, asked: str, marked: tuple[int, ...]) -> None:
    options = ("--model", tiny_model_folder, "--samples", 1, "--out", folder / "out", "--slices", asked)
    ended = cli("segment", folder / "knee.2.nii.gz", *options)
    assert ended.code == 0
    mean = np.asarray(nibabel.load(folder / "out" / "knee.2_mean.nii.gz").dataobj)
    assert [i for i in range(mean.shape[2]) if mean[..., i].any()] == list(marked)


def test_the_name_of_a_patient_goes_no_farther(cli, folder: Path, tiny_model_folder: Path) -> None:
    (folder / "grey.png").rename(folder / "Mustermann_Max.png")
    out = folder / "out"
    scan = folder / "Mustermann_Max.png"
    ended = cli("segment", scan, "--model", tiny_model_folder, "--samples", 3, "--out", out, "--deidentify")
    assert ended.code == 0
    written = sorted(out.iterdir())
    assert len(written) == 4
    assert all(path.name.startswith("scan-") for path in written)
    told = ended.out + "".join(path.read_bytes().decode("latin-1") for path in written)
    assert "Mustermann" not in told


def test_quiet_is_quiet_and_two_samples_have_no_variance(cli, folder: Path, tiny_model_folder: Path) -> None:
    args = ["segment", folder / "grey.png", "--model", tiny_model_folder, "--out", folder / "out", "-n", 2]
    ended = cli(*args, "--quiet")
    assert (ended.code, ended.out, ended.errors) == (0, "", [])
    assert "no variance: 2 samples" in cli(*args).out


def test_the_same_seed_writes_the_same_values(cli, folder: Path, tiny_tiles_folder: Path) -> None:
    found = []
    for seed, out in ((1, "a"), (1, "b"), (2, "c")):
        args = ["--model", tiny_tiles_folder, "--samples", 3, "--seed", seed, "--out", folder / out]
        assert cli("segment", folder / "colour.jpg", *args).code == 0
        found.append(
            [tifffile.imread(folder / out / f"colour_{p}.tif") for p in ("mask", "mean", "variance")]
        )
    assert all(np.array_equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not np.array_equal(found[0][1], found[2][1])


# -- what is refused


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


SCANS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.png": (lambda p: None, "no such file"),
    "text.png": (lambda p: p.write_text("a text"), "is not a PNG, JPEG or BMP image"),
    "cut.png": (lambda p: (Image.fromarray(COLOUR).save(p), cut(p)), "cut short"),
    "cut.nii.gz": (lambda p: (shutil.copy(p.parent / "knee.2.nii.gz", p), cut(p)), "cut short"),
    "cut.tif": (lambda p: (tifffile.imwrite(p, PLANE), cut(p)), "cut short"),
    "empty.png": (lambda p: p.write_bytes(b""), "is empty"),
    "scan.docx": (lambda p: p.write_text("a letter"), "is a kind of file that is not known"),
    "folder.png": (lambda p: p.mkdir(), "is a folder"),
    "nan.tif": (lambda p: tifffile.imwrite(p, np.full((9, 9), np.nan, np.float32)), "holds no finite value"),
    "five.tif": (
        lambda p: tifffile.imwrite(
            p, np.zeros((5, 9, 9), np.uint8), photometric="minisblack", metadata={"axes": "CYX"}
        ),
        "has 5 channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_that_cannot_be_read_is_named(
    refused, folder: Path, tiny_model_folder: Path, name: str
) -> None:
    spoil, why = SCANS[name]
    spoil(folder / name)
    message = refused("segment", folder / name, "--model", tiny_model_folder, "--out", folder / "out")
    assert name in message
    assert why in message
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", 0], "samples: must be 1 or more"),
        (["--samples", 10**9], "samples: must be 1000 or less"),
        (["--seed", -1], "seed: must be 0 or more"),
        (["--slices", "3-"], "slices: '3-' is not a range"),
        (["--slices", "0-2"], "slices: '0-2' is not a range"),
        (["--threshold", 1.5], "threshold: must lie between 0 and 1"),
        (["--threshold", "nan"], "threshold: must lie between 0 and 1"),
        (["--sampling", "magic"], "sampling: 'magic' is not known; use one of augment, none"),
        (["--sampling", "noise"], "sampling: tiny-whole has no samples from 'noise'"),
        (["--sampling", "none", "--samples", 3], "samples: tiny-whole gives the same answer every time"),
        (["--device", "tpu"], "device: 'tpu' is not known"),
        (["--precision", "int8"], "precision: 'int8' is not known"),
        (["--codec", "nowhere"], "codec: nowhere is not on this machine"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(
    refused, folder: Path, tiny_model_folder: Path, options: list[object], message: str
) -> None:
    args = ["segment", folder / "grey.png", "--model", tiny_model_folder, "--out", folder / "out", *options]
    assert refused(*args).startswith(message)
    assert not (folder / "out").exists()


@pytest.mark.parametrize("out", ["grey.png", "grey.png/deeper"])
def test_an_output_folder_that_cannot_be_made_is_named(
    refused, folder: Path, tiny_model_folder: Path, out: str
) -> None:
    before = sorted(p.name for p in folder.iterdir())
    message = refused("segment", folder / "colour.jpg", "--model", tiny_model_folder, "--out", folder / out)
    assert str(folder / out) in message
    assert "is a file; choose a folder" in message
    assert sorted(p.name for p in folder.iterdir()) == before


def flip(path: Path) -> None:
    """One byte of the weights, which safetensors itself does not see."""
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda f: flip(f / "weights.safetensors"), "weights.safetensors"),
    "weights cut short": (lambda f: cut(f / "weights.safetensors"), "weights.safetensors"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors"),
    "no card": (lambda f: (f / "card.json").unlink(), "card.json"),
    "a card that is not valid JSON": (lambda f: (f / "card.json").write_text("{"), "card.json"),
    "a field that is not valid": (lambda f: change(f / "card.json", default_samples=0), "default_samples"),
    "a field that is not known": (lambda f: change(f / "card.json", colour="red"), "colour"),
    "settings of another model": (
        lambda f: change(f / "card.json", settings={"width": 32}),
        "weights.safetensors",
    ),
    "another method": (lambda f: change(f / "card.json", method="magic"), "magic"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_is_not_whole_is_named(
    refused, folder: Path, tiny_model_folder: Path, kind: str
) -> None:
    spoil, named = MODELS[kind]
    broken = folder / "models" / "broken"
    shutil.copytree(tiny_model_folder, broken)
    spoil(broken)
    message = refused("segment", folder / "grey.png", "--model", broken, "--out", folder / "out")
    assert named in message
    assert not (folder / "out").exists()


def test_a_model_that_is_not_there_is_named(refused, folder: Path) -> None:
    message = refused("segment", folder / "grey.png", "--model", "no-such", "--out", folder / "out")
    assert "no model 'no-such'" in message


# -- as a program


def test_as_a_program(folder: Path, tiny_model_folder: Path) -> None:
    """Exit codes and streams as a shell sees them."""

    def run(name: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "napari_latentseg",
            "segment",
            name,
            "--model",
            str(tiny_model_folder),
        ]
        return subprocess.run(
            [*command, "--samples", "3", "--out", "out"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )

    bad = run("missing.png")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "error: missing.png: no such file; check the path\n"
    assert not (folder / "out").exists()
    good = run("grey.png")
    assert (good.returncode, good.stderr) == (0, "")
    files, sizes = good.stdout.splitlines()[:4], good.stdout.splitlines()[4:]
    assert files == [
        str(Path("out", n)) for n in ("grey_mask.tif", "grey_mean.tif", "grey_variance.tif", "grey_run.json")
    ]
    assert sizes[0].startswith("target: ")


def test_why_a_model_was_not_made_for_an_image_is_said_once(cli, folder: Path, tmp_path: Path) -> None:
    ended = cli(
        "segment", folder / "colour.jpg", "--model", "breast-ultrasound", "-n", 3, "--out", tmp_path / "o"
    )
    assert ended.code == 0
    assert ended.out.count("in colour") == 1
    assert "not calibrated: the model was not made for the image" in ended.out
    assert "\nNot made for this image: " in ended.out

"""`segment` with a box, some classes, a tolerance, and what is mended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

PLANE = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(PLANE).save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


@pytest.fixture
def segment(cli, image: Path, tiny_model_folder: Path):
    """Runs the command, and gives the mask, the mean, the record and what was printed last."""

    def run(*options: object) -> tuple[np.ndarray, np.ndarray, dict, str]:
        out = image.parent / "out"
        ended = cli("segment", image, "--model", tiny_model_folder, "--out", out, *options)
        assert (ended.code, ended.errors) == (0, [])
        mask, mean = (tifffile.imread(out / f"grey_{part}.tif") for part in ("mask", "mean"))
        return mask, mean, json.loads((out / "grey_run.json").read_text()), ended.out.splitlines()[-1]

    return run


def test_a_box(segment) -> None:
    mask, mean, record, _ = segment("-n", 3, "--roi", "10, 20,50,76")
    assert record["box"] == [10, 20, 50, 76]
    assert mask.shape == (60, 80)
    assert mean[10:50, 20:76].any()
    mean[10:50, 20:76] = 0
    assert not mean.any()


def test_a_tolerance(segment) -> None:
    _, _, record, said = segment("-n", 20, "--tolerance", 0.2)
    assert record["tolerance"] == 0.2
    assert record["samples"] < record["samples_asked"] == 20
    assert said == f"{record['samples']} of 20 samples were enough"


def test_what_is_mended(segment) -> None:
    plain, mean, record, _ = segment("-n", 3)
    assert record["cleanup"] is None
    mended, same, record, _ = segment("-n", 3, "--min-size", 12, "--fill-holes", "--keep-largest")
    assert record["cleanup"] == {"smallest": 12.0, "fill_holes": True, "keep_largest": True}
    assert record["volumes_cleaned"]
    assert np.array_equal(mean, same)
    assert ndimage.label(plain, np.ones((3, 3)))[1] > 1
    assert ndimage.label(mended, np.ones((3, 3)))[1] == 1


def test_some_classes(segment) -> None:
    mask, _, record, _ = segment("-n", 3, "--classes", " target ")
    assert [c["name"] for c in record["classes"]] == ["target"]
    assert mask.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--roi", "1,2,3"), "roi: '1,2,3' is not a box; write TOP,LEFT,BOTTOM,RIGHT in whole pixels"),
        (("--roi", "-5,0,40,40"), "roi: '-5,0,40,40' is not a box"),
        (("--roi", "0,0,10,40"), "roi: must be 16 pixels or more along each side"),
        (("--roi", "0,0,61,40"), "roi: rows 0-61, columns 0-40 are not inside a slice of 60 x 80"),
        (("--classes", "target,liver"), "classes: tiny-whole has no class 'liver'; choose from target"),
        (("--tolerance", "2"), "tolerance: must be less than 1"),
        (("--min-size", "-1"), "min-size: -1 is not a size; give 0 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(
    refused, image: Path, tiny_model_folder: Path, options: tuple[str, ...], message: str
) -> None:
    out = image.parent / "out"
    said = refused("segment", image, "--model", tiny_model_folder, "--out", out, *options)
    assert said.startswith(message)
    assert not out.exists()


def test_from_python(image: Path, tiny_model_folder: Path) -> None:
    from napari_latentseg import segment
    from napari_latentseg.core.postprocess import PostProcess

    found = segment(
        image, tiny_model_folder, samples=12, box=(4, 0, 60, 70), classes=["target"], tolerance=0.3,
        cleanup=PostProcess(keep_largest=True),
    )  # fmt: skip
    record = found.record
    assert (record.box, record.tolerance, record.cleanup) == (
        (4, 0, 60, 70),
        0.3,
        PostProcess(keep_largest=True),
    )
    assert found.roi == (slice(4, 60), slice(0, 70))
    assert len(found.volumes) == record.samples == found.sample_maps.sample_count < 12


def test_the_agreement_of_the_samples(segment, image: Path) -> None:
    mask, _, record, _ = segment("-n", 4, "--agreement")
    counts = tifffile.imread(image.parent / "out" / "grey_agreement.tif")
    assert (counts.dtype, record["samples"]) == (np.uint8, 4)
    assert counts.max() == 4
    assert (counts[mask > 0] > 0).all()
    segment("-n", 4)
    assert not list((image.parent / "out").glob("*agreement*"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("-n", 2), "needs 3 samples or more, and there are 2"),
        (("--sampling", "none"), "needs 3 samples or more, and one pass has none"),
    ],
)
def test_an_agreement_of_too_few_samples_is_refused(
    refused, image: Path, tiny_model_folder: Path, options: tuple[object, ...], why: str
) -> None:
    out = image.parent / "out"
    assert why in refused(
        "segment", image, "--model", tiny_model_folder, "--out", out, *options, "--agreement"
    )
    assert not out.exists()


@pytest.mark.parametrize("options", [("-n", 3), ("--sampling", "none")])
def test_the_doubt_of_samples_and_of_a_single_pass(segment, image: Path, options: tuple[object, ...]) -> None:
    segment(*options, "--doubt")
    mean, doubt = (tifffile.imread(image.parent / "out" / f"grey_{name}.tif") for name in ("mean", "doubt"))
    assert doubt.dtype == np.float32
    np.testing.assert_array_equal(doubt, np.minimum(mean, 1 - mean))
    segment(*options)
    assert not list((image.parent / "out").glob("*doubt*"))

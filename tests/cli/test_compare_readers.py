"""`compare` with the masks of several readers, and a model's result beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from tests.helpers.made import balls

from napari_latentseg import Geometry, compare_readers, consensus
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan

SHAPE = (12, 30, 24)  # z, y, x
SPACING = (2.5, 0.8, 0.7)
PLACES = [((14.0, 11.0, 8.0), 6.0), ((14.0, 12.0, 8.5), 5.5), ((13.0, 11.0, 8.0), 6.5)]
LABELS = [balls(SHAPE, SPACING, place).astype(np.uint8) for place in PLACES]
AFFINE = np.diag([-0.7, -0.8, 2.5, 1])


def write(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    image = nibabel.Nifti1Image(labels.T, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


@pytest.fixture
def masks(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / f"{name}.nii.gz", labels) for name, labels in zip("abc", LABELS, strict=True)]


def test_three_readers_with_consensus_disagreement_and_a_page(
    cli: Callable, masks: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip("SimpleITK")
    out, spread, page = tmp_path / "consensus.nii.gz", tmp_path / "spread.nii.gz", tmp_path / "page.html"
    options = ("--consensus", "staple", "--out", out, "--disagreement", spread, "--report", page)
    ended = cli("compare", *masks, *options)
    assert (ended.code, ended.errors) == (0, [])
    assert ended.out.startswith("reader 1: a.nii.gz\nreader 2: b.nii.gz\n")
    assert "surface Dice at 0.8 mm" in ended.out
    known = compare_readers(masks, consensus="staple")
    written = read_scan(out)
    assert np.array_equal(written.array, known.consensus.labels)
    assert written.geometry.agrees_with(read_scan(masks[0]).geometry, SHAPE)
    assert np.asarray(read_scan(spread).array) == pytest.approx(np.var(LABELS, axis=0), abs=1e-7)
    text = page.read_text("utf-8")
    assert "a.nii.gz" not in text
    figures = json.loads(cli("compare", *masks, "--consensus", "staple", "--json").out)
    shown = dict(re.findall(r'data-figure="([^"]+)">([^<]+)<', text))
    assert len(shown) > 30
    for key, value in shown.items():
        figure = figures
        for part in key.split("."):
            figure = figure[int(part)] if part.isdigit() else figure[part]
        assert float(value) == pytest.approx(figure, abs=5.1e-3)
    for option, path in (("--out", out), ("--disagreement", spread), ("--report", page)):
        assert "already exists" in cli("compare", *masks, option, path).errors[0]
    assert cli("compare", *masks, *options, "--overwrite").code == 0


def test_a_mask_in_another_orientation_is_turned(cli: Callable, masks: list[Path], tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[0, 0], affine[0, 3] = 0.7, AFFINE[0, 0] * (SHAPE[2] - 1)
    turned = write(tmp_path / "turned.nii.gz", LABELS[2][:, :, ::-1], affine)
    expected = json.loads(cli("compare", *masks, "--json").out)
    found = json.loads(cli("compare", *masks[:2], turned, "--json").out)
    assert found["pairs"] == expected["pairs"]


def test_a_result_beside_the_readers(cli: Callable, tmp_path: Path, tiny_model_folder: Path) -> None:
    image = write(tmp_path / "scan.nii.gz", np.random.default_rng(0).integers(0, 900, SHAPE, np.int16))
    given = ("segment", image, "--model", tiny_model_folder, "--out", tmp_path / "out", "-n", 4)
    assert cli(*given, "--case", "A").code == 0
    readers = [write(tmp_path / f"{n}.nii.gz", m) for n, m in zip("ab", LABELS, strict=False)]
    page = tmp_path / "page.html"
    beside = ("--result", tmp_path / "out", "--image", image, "--report", page)
    ended = cli("compare", *readers, *beside, "--names", "Anna, Ben")
    assert (ended.code, ended.errors) == (0, [])
    assert "The variance of a model is not the disagreement of readers" in ended.out
    assert "The variance of a model is not the disagreement of readers" in page.read_text("utf-8")
    assert "samples were not kept" in ended.out
    assert "Anna, model" in ended.out
    figures = json.loads(cli("compare", *readers, "--result", tmp_path / "out", "--json").out)
    assert figures["classes"] == [{"name": "target", "label": 1}]
    assert figures["model"]["agreements"][0]["correlation_everywhere"] is not None


def test_readers_may_be_annotation_stores(cli: Callable, refused: Callable, tmp_path: Path) -> None:
    from napari_latentseg.annotations.store import AnnotationStore
    from napari_latentseg.core.classes import ClassInfo

    image = write(tmp_path / "scan.nii.gz", np.random.default_rng(0).integers(0, 900, SHAPE, np.int16))
    classes = (ClassInfo(label=1, name="nodule", color="#ff0000"),)
    for name, labels, planes in (("anna", LABELS[0], None), ("ben", LABELS[1], range(2, 9))):
        with AnnotationStore(tmp_path / name) as store:
            store.approve(read_scan(image), labels, classes=classes, planes=planes)
    stores = [tmp_path / "anna", tmp_path / "ben"]
    figures = json.loads(cli("compare", *stores, "--image", image, "--json").out)
    part = [m[2:9] for m in LABELS[:2]]
    (known,) = compare_readers(part, geometry=Geometry.from_spacing("zyx", SPACING, "mm")).pairs
    assert (figures["segmented"], figures["classes"][0]["name"]) == ("7 of 12 slices", "nodule")
    assert figures["pairs"][0]["dsc"] == known.dsc
    other = write(tmp_path / "other.nii.gz", np.zeros(SHAPE, np.int16))
    assert "anna: has no approved mask of this image" in refused("compare", *stores, "--image", other)


def test_pictures_and_a_mask_without_the_class(cli: Callable, tmp_path: Path) -> None:
    for name in ("r1", "r2", "r3"):
        (tmp_path / name).mkdir()
        mask = np.zeros((30, 40), np.uint8)
        if name != "r3":
            mask[5:15, 5:15] = 255
        Image.fromarray(mask).save(tmp_path / name / "x.png")
    paths = [tmp_path / name / "x.png" for name in ("r1", "r2", "r3")]
    ended = cli("compare", *paths, "--out", tmp_path / "c.png")
    assert ended.code == 0
    assert "r2/x.png equals the mask of reader 1 in every voxel" in ended.out
    assert "r3/x.png has no label" in ended.out
    assert "surface Dice at 1 pixel" in ended.out
    assert np.count_nonzero(np.asarray(Image.open(tmp_path / "c.png"))) == 100


def test_what_cannot_be_compared_is_refused_in_one_line(
    refused: Callable, masks: list[Path], tmp_path: Path
) -> None:
    moved = AFFINE.copy()
    moved[2, 3] = 40
    elsewhere = write(tmp_path / "elsewhere.nii.gz", LABELS[0], moved)
    small = write(tmp_path / "small.nii.gz", LABELS[0][1:])
    empty = write(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8))
    for given, message in (
        ((*masks, elsewhere), "elsewhere.nii.gz: lies elsewhere in the patient than a.nii.gz: 40 mm off"),
        ((*masks, small), "small.nii.gz: has shape"),
        ((*masks * 3,), "masks: 9 masks were given; give 2 to 8"),
        ((masks[0],), "masks: 1 mask was given"),
        ((*masks, tmp_path / "lost.nii.gz"), "lost.nii.gz"),
        ((empty, empty, empty), "are all empty"),
        ((*masks, "--consensus", "mean"), "consensus: 'mean' is not known"),
        ((*masks, "--names", "A,B"), "names: 2 names for 3 masks"),
        ((*masks, "--names", "A,B,model"), "'model' is there twice or means something else"),
        ((*masks, "--tolerance", "-1"), "tolerance: -1.0 is not possible"),
        ((*masks, "--out", masks[0], "--overwrite"), "is given twice, or is one of the masks"),
        ((*masks, "--out", tmp_path / "x.txt"), "x.txt"),
        ((*masks, "--report", tmp_path / "x.pdf"), "x.pdf: does not end in .html"),
        ((*masks, "--result", tmp_path), "holds no run.json"),
    ):
        assert message in refused("compare", *given), given


def test_the_samples_of_a_result_in_memory_are_compared(tmp_path: Path) -> None:
    from tests.helpers.made import made

    geometry = Geometry.from_spacing("zyx", SPACING, "mm")
    result = made(np.stack([mask[None] for mask in LABELS]).astype(np.float32), geometry)
    compared = compare_readers(LABELS, geometry=geometry, result=result)
    assert compared.model is not None
    assert len(compared.model.maps.samples) == 3
    (row,) = compared.model.agreements
    assert row.agreement.ged2 == pytest.approx(0, abs=1e-12)
    assert row.correlation == pytest.approx(1)
    with pytest.raises(BadInput, match="result: has shape"):
        compare_readers([m[1:] for m in LABELS], geometry=geometry, result=result)
    assert np.array_equal(consensus(LABELS, "majority").labels, np.sum(LABELS, axis=0) > 1)


def test_the_labels_of_an_atlas_are_named(cli: Callable, tmp_path: Path) -> None:
    atlas = LABELS[0].astype(np.int16) * 1021
    atlas[0, 0, 0] = 3
    paths = [write(tmp_path / f"{name}.nii.gz", atlas) for name in "ab"]
    ended = cli("compare", *paths)
    assert ended.code == 2
    (line,) = ended.errors
    assert "has the label 1021, and classes have 1 to 255; renumber an atlas" in line

"""Results as BIDS derivatives and as nnU-Net names them: what is written, checked by others, and replaced."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_latentseg import BadInput, RunRecord, batch, read_scan

TWO_CLASSES = [
    {"label": 1, "name": "left part", "color": "#ffb000"},
    {"label": 3, "name": "tumour", "color": "#00b0ff"},
]
BIDS_VALIDATOR = shutil.which("bids-validator-deno")


def write_volume(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 200, (24, 20, 3), dtype=np.int16)
    nib.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A BIDS data set of two subjects, one of them with two images in a session."""
    for seed, name in enumerate(("sub-01/ses-1/anat/sub-01_ses-1_T1w", "sub-01/ses-1/anat/sub-01_ses-1_T2w",
                                 "sub-02/anat/sub-02_run-1_T1w")):  # fmt: skip
        write_volume(tmp_path / "raw" / f"{name}.nii.gz", seed)
    (tmp_path / "raw" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    return tmp_path / "raw"


@pytest.fixture
def two_class_folder(make_tiny_model: Callable[..., Path]) -> Path:
    return make_tiny_model("tiny-two", classes=TWO_CLASSES, settings={"width": 16, "classes": 2})


def files(out: Path) -> set[str]:
    return {
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and ".batch" not in path.parts
    }


TOP = {"dataset_description.json", "README", ".bidsignore", "cases.tsv"}


def test_bids_derivatives_of_several_classes(raw: Path, two_class_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = batch(raw, two_class_folder, out, layout="bids", samples=3)
    assert report.count("done") == 3, report.outcomes
    expected = set(TOP)
    for stem, suffix in (
        ("sub-01/ses-1/anat/sub-01_ses-1", "T1w"),
        ("sub-01/ses-1/anat/sub-01_ses-1", "T2w"),
        ("sub-02/anat/sub-02_run-1", "T1w"),
    ):
        expected |= {f"{stem}_desc-{suffix}_dseg{end}" for end in (".nii.gz", ".json", ".tsv")}
        for label in ("leftpart", "tumour"):
            expected |= {f"{stem}_label-{label}_desc-{suffix}_probseg{end}" for end in (".nii.gz", ".json")}
    assert files(out) == expected
    stem = out / "sub-02" / "anat" / "sub-02_run-1_desc-T1w_dseg"
    table = stem.with_name(f"{stem.name}.tsv").read_text().splitlines()
    assert table[2:] == ["1\tleft part\t#ffb000", "3\ttumour\t#00b0ff"]
    sidecar = json.loads(stem.with_name(f"{stem.name}.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-02/anat/sub-02_run-1_T1w.nii.gz"]
    assert RunRecord.model_validate(sidecar["RunRecord"]).samples == 3
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "napari-latentseg"
    assert (out / description["DatasetLinks"]["raw"]).resolve() == raw.resolve()
    image = read_scan(raw / "sub-02/anat/sub-02_run-1_T1w.nii.gz")
    mask = read_scan(stem.with_name(f"{stem.name}.nii.gz"))
    assert mask.geometry.agrees_with(image.geometry, image.spatial_shape)
    assert set(np.unique(mask.array)) <= {0, 1, 3}


def test_bids_derivatives_of_one_class(raw: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    batch(raw / "sub-02", tiny_model_folder, tmp_path / "a", layout="bids", samples=1)
    # a folder in a data set is no data set: its images are subjects of their own
    assert any(name.startswith("sub-anatsub02run1T1w") for name in files(tmp_path / "a"))
    batch(raw / "sub-02/anat/*_T1w.nii.gz", tiny_model_folder, tmp_path / "b", layout="bids", samples=1)
    stem = "sub-02/anat/sub-02_run-1_label-target_desc-T1w"
    ends = ("mask.nii.gz", "mask.json", "probseg.nii.gz", "probseg.json")
    assert files(tmp_path / "b") - TOP == {f"{stem}_{end}" for end in ends}
    assert json.loads((tmp_path / "b" / f"{stem}_mask.json").read_text())["Type"] == "ROI"


@pytest.mark.skipif(BIDS_VALIDATOR is None, reason="bids-validator-deno is not installed")
@pytest.mark.parametrize("source", ["raw", "raw/sub-01/ses-1/anat"])
def test_the_bids_validator_finds_no_error(
    raw: Path, two_class_folder: Path, tiny_model_folder: Path, source: str, tmp_path: Path
) -> None:
    for number, model in enumerate((two_class_folder, tiny_model_folder)):
        out = tmp_path / f"out{number}"
        batch(tmp_path / source, model, out, layout="bids", samples=3)
        ended = subprocess.run(
            [str(BIDS_VALIDATOR), str(out), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        issues = json.loads(ended.stdout)["issues"]["issues"]
        assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_the_names_of_nnunet(tmp_path: Path, two_class_folder: Path) -> None:
    for seed, name in enumerate(("hip_1_0000", "hip_2_0000")):
        write_volume(tmp_path / "imagesTs" / f"{name}.nii.gz", seed)
    out = tmp_path / "out"
    batch(tmp_path / "imagesTs", two_class_folder, out, layout="nnunet", samples=1)
    assert files(out) == {"cases.tsv", "hip_1.nii.gz", "hip_1.json", "hip_2.nii.gz", "hip_2.json"}
    assert RunRecord.model_validate_json((out / "hip_1.json").read_text()).samples == 1
    label_map = nib.load(out / "hip_1.nii.gz")
    assert label_map.shape == (24, 20, 3)
    assert set(np.unique(np.asarray(label_map.dataobj))) <= {0, 1, 3}


@pytest.mark.parametrize("layout", ["bids", "nnunet"])
def test_a_changed_image_is_done_again_and_an_edited_mask_is_kept(
    raw: Path, tiny_model_folder: Path, layout: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def run() -> dict[str, Any]:
        report = batch(raw, tiny_model_folder, out, layout=layout, samples=1, resume=True)
        return {outcome.case: outcome for outcome in report.outcomes}

    run()
    first = {name: (out / name).read_bytes() for name in files(out) if name.endswith(".nii.gz")}
    write_volume(raw / "sub-02/anat/sub-02_run-1_T1w.nii.gz", 7)
    states = {name: outcome.state for name, outcome in run().items()}
    assert states == {
        "sub-01_ses-1_T1w": "skipped",
        "sub-01_ses-1_T2w": "skipped",
        "sub-02_run-1_T1w": "done",
    }
    changed = {name for name, content in first.items() if (out / name).read_bytes() != content}
    assert changed == {name for name in first if "sub-02" in name}

    mask = next(name for name in sorted(first) if "sub-02" in name and "probseg" not in name)
    write_volume(out / mask, 11)  # a person has painted in it
    edited = (out / mask).read_bytes()
    assert run()["sub-02_run-1_T1w"].state == "skipped"
    write_volume(raw / "sub-02/anat/sub-02_run-1_T1w.nii.gz", 8)
    outcome = run()["sub-02_run-1_T1w"]
    assert outcome.state == "failed"
    assert "is not an unchanged file of this batch" in outcome.reason
    assert (out / mask).read_bytes() == edited


def test_a_file_of_others_is_never_replaced(raw: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub-02_run-1_T1w.json").write_text("mine")
    report = batch(raw, tiny_model_folder, out, layout="nnunet", samples=1)
    assert (report.count("done"), report.count("failed")) == (2, 1)
    assert (out / "sub-02_run-1_T1w.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "tree"}, "layout: 'tree' is not known; use one of flat, bids, nnunet"),
        ({"layout": "bids", "contours": True}, "contours: has no place in the layout bids"),
        (
            {"layout": "nnunet", "format": "dicom-seg"},
            "format: 'dicom-seg' has no place in the layout nnunet",
        ),
        ({"layout": "bids", "format": "png"}, "format: 'png' has no place in the layout bids"),
        ({"reports": True}, "reports: is not an option of batch"),
        ({"samples": 1, "agreement": True}, "agreement: needs 3 samples or more"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(
    raw: Path, tiny_model_folder: Path, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        batch(raw, tiny_model_folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_another_layout_or_data_set_is_refused(raw: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    batch(raw, tiny_model_folder, tmp_path / "out", samples=1)
    with pytest.raises(BadInput, match="holds results in the layout flat; choose that or another folder"):
        batch(raw, tiny_model_folder, tmp_path / "out", samples=1, layout="bids", resume=True)
    with pytest.raises(BadInput, match="is a data set that another program made"):
        batch(raw, tiny_model_folder, raw, samples=1, layout="bids")

"""`annotations`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.annotated import CLASSES, make_mask, make_scan

from napari_latentseg.annotations import AnnotationStore


@pytest.fixture
def approved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnnotationStore:
    """A home of its own with approvals for one model."""
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "home"))
    scan = make_scan("volume")
    store = AnnotationStore.for_model("hippocampus")
    model = ("hippocampus", "1", "a" * 64)
    store.approve(scan, make_mask(scan), classes=CLASSES, planes=[0, 1, 4], model=model, edited=True)
    return store


def test_nothing_is_there_at_first(cli, refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "home"))
    assert cli("annotations", "list").out == "nothing is approved yet\n"
    assert json.loads(cli("annotations", "list", "--json").out) == []
    assert cli("annotations", "verify").code == 0
    assert "nothing is approved yet" in refused("annotations", "export", tmp_path / "out")
    assert "there are no annotations for 'x'" in refused("annotations", "list", "--store", "x")
    assert not (tmp_path / "home").exists()


def test_approvals_are_listed(cli, approved: AnnotationStore) -> None:
    ended = cli("annotations", "list")
    assert (ended.code, ended.errors) == (0, [])
    head, row = ended.out.splitlines()
    assert head.split() == ["FOR", "NUMBER", "IMAGE", "SLICES", "FROM", "EDITED", "READER", "TIME"]
    (entry,) = approved.approvals()
    assert row.split() == [
        "hippocampus",
        "3",
        entry.case,
        "1-2,5",
        "hippocampus",
        "1",
        "yes",
        "-",
        entry.time,
    ]
    scan = make_scan("volume", 1)
    approved.save_draft(scan, make_mask(scan), classes=CLASSES)
    assert "is open in a window, last saved" in cli("annotations", "list").out
    approved.close()
    assert "has an unfinished draft, last saved" in cli("annotations", "list").out


def test_approvals_are_listed_as_json(cli, approved: AnnotationStore) -> None:
    approved.revoke(approved.approve(make_scan("volume"), make_mask(make_scan("volume")), classes=CLASSES))
    (one,) = json.loads(cli("annotations", "list", "--json").out)
    assert (one["name"], one["slices"], one["images"]) == ("hippocampus", 3, 1)
    assert [c["name"] for c in one["classes"]] == ["vessel", "disc"]
    assert one["cases"][0]["planes"] == [0, 1, 4]
    assert [(a["planes"], a["revoked"]) for a in one["approvals"]] == [
        ([0, 1, 4], False),
        ([0, 1, 2, 3, 4, 5], True),
    ]
    assert one["approvals"][0]["model"] == {"name": "hippocampus", "version": "1", "sha256": "a" * 64}
    assert json.loads(cli("annotations", "list", "--json", "--store", approved.folder).out)[0] == one


def test_verify_says_that_all_is_well_or_what_is_not(cli, approved: AnnotationStore) -> None:
    ended = cli("annotations", "verify")
    assert (ended.code, ended.out) == (
        0, "hippocampus: 3 slices of 1 image unchanged since approval\n"
    )  # fmt: skip
    (path,) = (approved.folder / "imagesTr").iterdir()
    path.unlink()
    ended = cli("annotations", "verify")
    assert ended.code == 1
    assert f"hippocampus: imagesTr/{path.name}: the image is missing" in ended.out
    (one,) = json.loads(cli("annotations", "verify", "--json").out)
    assert one["findings"][0] == {
        "file": f"imagesTr/{path.name}", "what": "the image is missing", "serious": True
    }  # fmt: skip


def test_an_export_goes_to_a_folder_of_its_own(
    cli, refused, approved: AnnotationStore, tmp_path: Path
) -> None:
    out = tmp_path / "Dataset001_Hippocampus"
    ended = cli("annotations", "export", out)
    assert (ended.code, ended.out.strip()) == (0, str(out))
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 1
    assert "already exists" in refused("annotations", "export", out)
    scan = make_scan("colours")
    AnnotationStore.for_model("polyp").approve(scan, np.zeros((20, 24), np.uint8), classes=CLASSES)
    assert "those for hippocampus, polyp; choose" in refused("annotations", "export", tmp_path / "x")
    assert cli("annotations", "export", tmp_path / "x", "--store", "polyp").code == 0


def test_an_empty_list_says_so(cli, own_home: Path) -> None:
    for command in ("list", "verify"):
        assert cli("annotations", command).out == "nothing is approved yet\n"
    assert cli("models", "candidates").out == "no fine-tuned model waits to be adopted or discarded\n"

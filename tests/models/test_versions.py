"""Versions of a model: taught, adopted, gone back from; and at every moment one that loads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_latentseg.errors import BadInput
from napari_latentseg.models.candidates import adopt, candidate_folder, discard, free_name, list_candidates
from napari_latentseg.models.card import CARD, Ancestor, read_card
from napari_latentseg.models.folder import save_model_folder
from napari_latentseg.models.install import install_folder, remove_model
from napari_latentseg.models.layout import COMPARISON_FILE, WEIGHTS_FILE
from napari_latentseg.models.store import CURRENT_FILE, find_model, load_model
from napari_latentseg.models.versions import list_versions, next_version, revert

Teach = Callable[..., Path]


@pytest.fixture
def teach(home: Path) -> Teach:
    """Writes a candidate that was taught from a model: its weights moved a little."""

    def taught(base: str = "lesions", name: str = "lesions-tuned", by: float = 0.01) -> Path:
        model = load_model(base)
        with torch.no_grad():
            for weight in model.method.trainable_modules.parameters():
                weight.add_(by)
        card = model.card
        lineage = (
            *card.lineage,
            Ancestor(name=card.name, version=card.version, sha256=card.files[WEIGHTS_FILE]),
        )
        card = card.model_copy(
            update={"name": name, "lineage": lineage, "parent": f"{card.name} {card.version}"}
        )
        line = json.dumps({"line": f"Better by {by}"}).encode()
        save_model_folder(candidate_folder(name), model.method, card, {COMPARISON_FILE: line})
        return candidate_folder(name)

    return taught


def bias(name: str) -> float:
    return float(next(load_model(name).method.trainable_modules.parameters()).detach().flatten()[0])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_model_that_was_never_taught_has_one_version(home: Path) -> None:
    (only,) = list_versions("lesions")
    assert (only.version, only.is_current, only.origin, only.parent, only.comparison) == (
        "1",
        True,
        "installed",
        "",
        "",
    )
    assert only.dsc == 0.8125
    assert next_version("lesions") == "2"


def test_an_adopted_model_is_what_the_name_loads(teach: Teach, lesions: Path) -> None:
    before, old = tree(lesions), bias("lesions")
    place = adopt(teach(by=0.5))
    assert find_model("lesions") == place
    assert bias("lesions") == pytest.approx(old + 0.5, abs=1e-2)
    assert (read_card(place).name, read_card(place).version) == ("lesions", "2")
    assert tree(lesions) == before
    assert list_candidates() == {}
    assert [(v.version, v.is_current, v.origin, v.comparison) for v in list_versions("lesions")] == [
        ("1", False, "installed", ""),
        ("2", True, "taught", "Better by 0.5"),
    ]


def test_one_can_go_back_and_forth(teach: Teach, lesions: Path) -> None:
    adopt(teach(by=0.1))
    adopt(teach(by=0.1))
    assert [v.version for v in list_versions("lesions")] == ["1", "2", "3"]
    assert read_card(find_model("lesions")).lineage[-1].version == "2"
    assert read_card(revert("lesions")).version == "2"
    assert revert("lesions") == lesions
    with pytest.raises(BadInput, match="is at its first version"):
        revert("lesions")
    assert read_card(revert("lesions", "3")).version == "3"
    with pytest.raises(BadInput, match="has no version 7; use one of 1, 2, 3"):
        revert("lesions", "7")


def test_both_can_be_kept(teach: Teach, lesions: Path, home: Path) -> None:
    place = adopt(teach(), keep_both=True)
    assert place == home / "models" / "lesions-tuned"
    assert find_model("lesions") == lesions
    assert read_card(place).parent == "lesions 1"
    assert list_candidates() == {}


def test_what_is_not_wanted_goes_with_its_checkpoint(teach: Teach) -> None:
    folder = teach()
    checkpoint = folder.with_name(f"{folder.name}.checkpoint")
    checkpoint.mkdir()
    discard("lesions-tuned")
    assert not folder.exists()
    assert not checkpoint.exists()
    with pytest.raises(BadInput, match="no candidate"):
        discard("lesions-tuned")


def test_what_is_in_the_store_is_not_discarded(teach: Teach, lesions: Path) -> None:
    with pytest.raises(BadInput, match="was not fine-tuned"):
        discard(lesions)
    with pytest.raises(BadInput, match="is installed already"):
        discard(adopt(teach()))


def test_a_candidate_elsewhere_stays_where_it_is(teach: Teach, tmp_path: Path) -> None:
    folder = Path(shutil.move(teach(), tmp_path / "mine"))
    adopt(folder)
    assert (folder / CARD).is_file()
    assert len(list_versions("lesions")) == 2
    adopt(folder)  # the same again is the same version
    assert len(list_versions("lesions")) == 2


def test_a_damaged_candidate_changes_nothing(teach: Teach, lesions: Path) -> None:
    folder = teach()
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:-9])
    with pytest.raises(BadInput, match="SHA-256 differs"):
        adopt(folder)
    assert find_model("lesions") == lesions
    assert len(list_versions("lesions")) == 1


def test_a_candidate_of_another_model_is_not_made_its_version(
    teach: Teach, lesions: Path, home: Path
) -> None:
    folder = teach()
    model = load_model("lesions")
    with torch.no_grad():
        next(model.method.trainable_modules.parameters()).add_(1)
    save_model_folder(lesions, model.method, model.card, replace=True)
    with pytest.raises(BadInput, match="has other weights than the base model of the candidate; keep both"):
        adopt(folder)
    remove_model("lesions")
    with pytest.raises(BadInput, match="is not installed here"):
        adopt(folder)


@pytest.mark.parametrize("content", ["", "{", '{"version": 9}', '{"version": "../1"}', "[]"])
def test_a_pointer_that_points_nowhere_is_as_none(
    teach: Teach, lesions: Path, home: Path, content: str
) -> None:
    adopt(teach())
    (home / "versions" / "lesions" / CURRENT_FILE).write_text(content)
    assert find_model("lesions") == lesions


def test_removing_takes_the_versions_too(teach: Teach, home: Path) -> None:
    adopt(teach())
    remove_model("lesions")
    with pytest.raises(BadInput, match="no model 'lesions'"):
        find_model("lesions")
    assert not (home / "versions" / "lesions").exists()


def test_removing_an_embedded_model_takes_versions_that_are_not_in_use(teach: Teach, home: Path) -> None:
    embedded = find_model("retina-vessels")
    adopt(teach("retina-vessels", "vessels-tuned"))
    revert("retina-vessels")
    remove_model("retina-vessels")
    assert not (home / "versions" / "retina-vessels").exists()
    assert find_model("retina-vessels") == embedded
    with pytest.raises(BadInput, match="came with the package, and stays"):
        remove_model("retina-vessels")


def test_installing_anew_puts_that_in_use(teach: Teach, lesions: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(lesions, tmp_path / "copy"))
    adopt(teach())
    install_folder(copy, "lesions", replace=True)
    assert find_model("lesions") == lesions


def test_a_free_name_is_free(teach: Teach) -> None:
    assert free_name("lesions") == "lesions-tuned"
    teach()
    assert free_name("lesions") == "lesions-tuned-2"
    assert free_name("lesions-tuned") == "lesions-tuned-2"


def test_a_folder_that_cannot_be_written_is_said(
    teach: Teach, lesions: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = teach()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(
        BadInput, match=r"cannot be written \(No space left on device\); free some disk space"
    ):
        adopt(folder)
    assert find_model("lesions") == lesions
    assert [p.name for p in (home / "versions" / "lesions").iterdir()] == []
    assert (folder / CARD).is_file()


ADOPTING = """
import sys, shutil
from pathlib import Path
from napari_latentseg.models.candidates import adopt
from napari_latentseg.models.versions import revert
import napari_latentseg.models.folder
print("ready", flush=True)
while True:
    for folder in sys.argv[1:]:
        adopt(Path(folder))
    revert("lesions", "1")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_a_kill_leaves_the_old_or_the_new(teach: Teach, home: Path, tmp_path: Path) -> None:
    folders = [shutil.move(teach(by=by), tmp_path / f"c{by}") for by in (0.25, 0.5)]
    first = bias("lesions")
    whole = {round(first + by, 2) for by in (0, 0.25, 0.5)}
    for turn in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", ADOPTING, *map(str, folders)], stdout=subprocess.PIPE, env=dict(os.environ)
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.05 + 0.2 * turn)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert any(bias("lesions") == pytest.approx(value, abs=0.02) for value in whole)
        assert all(load_model(version.folder) for version in list_versions("lesions"))
        shutil.rmtree(home / "versions", ignore_errors=True)

"""Fine-tuning: from a model and a few images to a candidate that is judged before it is used."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.models.candidates import adopt
from napari_latentseg.models.card import read_card
from napari_latentseg.models.folder import save_model_folder
from napari_latentseg.models.layout import COMPARISON_FILE, REPLAY_FILE, WEIGHTS_FILE, check_files
from napari_latentseg.models.store import load_model
from napari_latentseg.models.versions import list_versions
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.output_dir import checkpoint_folder

Events = list[dict[str, Any]]
Write = Callable[..., Path]


@pytest.fixture
def data(write_ellipses: Write, tmp_path: Path) -> Path:
    """Dark ellipses on a bright ground, which the base has never seen."""
    return inverted(write_ellipses(tmp_path / "new", 6, seed=5))


def inverted(folder: Path) -> Path:
    for path in (folder / "images").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    return folder


def tuned(base: Path, data: Path, out: Path, **more: Any) -> tuple[FineTuneJob, Events]:
    given = {"minutes": 1.0, "device": "cpu", "steps": 30, "name": "mine"} | more
    job = FineTuneJob(base, data, out, **given)
    return job, [event.as_dict() for event in job]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def named(events: Events, name: str) -> Events:
    return [e for e in events if e["event"] == name]


def test_the_whole_of_it(own_home: Path, taught_base: Path, data: Path, tmp_path: Path) -> None:
    before = tree(taught_base)
    out = tmp_path / "candidate"
    _, events = tuned(taught_base, data, out)
    assert tree(taught_base) == before
    json.dumps(events)
    assert events[0] == {
        "event": "data", "cases": 6, "planes": 6, "train": 4, "apart": 2, "replay": events[0]["replay"],
        "note": "only 2 validation cases, of 6",
    }  # fmt: skip
    assert events[0]["replay"] > 0
    order = list(dict.fromkeys(e["event"] for e in events))
    assert order == ["data", "caching", "epoch", "preview", "chosen", "judging", "judged", "saved"]
    first, *_, last = named(events, "epoch")
    assert (first["step"], last["step"]) == (0, 30)
    assert first["dsc"] == first["base_dsc"]
    assert first["replay_dsc"] == first["base_replay_dsc"]
    assert set(last["losses"]) == {"latent", "dice"}
    assert last["best"] >= first["dsc"]
    comparison = json.loads((out / COMPARISON_FILE).read_text())
    assert comparison == named(events, "judged")[0]["comparison"]
    assert comparison["held_out"]["cases"] == len(comparison["cases"]) == 2
    for case in comparison["cases"]:
        assert case["change"] == pytest.approx(case["after"]["dsc"] - case["before"]["dsc"], abs=2e-4)
    card = read_card(out)
    check_files(out, card)
    assert (card.name, card.parent) == ("mine", "ellipses 1")
    assert card.lineage[-1].sha256 == read_card(taught_base).files[WEIGHTS_FILE]
    assert (card.training_data[-1].images, card.training_data[-1].validation_images) == (4, 2)
    assert card.metrics[0].values["dsc"] == comparison["held_out"]["after"]["dsc"]
    assert events[-1]["dsc"] == card.metrics[0].values["dsc"]
    assert not checkpoint_folder(out).exists()
    assert (out / REPLAY_FILE).read_bytes() == (taught_base / REPLAY_FILE).read_bytes()
    split = json.loads((out / "split.json").read_text())
    assert {p.content_sha256 for p in find_cases(data)} <= set(split["train"]) | set(split["validation"])


def test_it_learns_and_only_the_end_of_the_predictor_changes(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "candidate"
    _, events = tuned(taught_base, data, out, steps=80)
    first, *_, last = named(events, "epoch")[1:]
    assert sum(last["losses"].values()) < sum(first["losses"].values())
    old, new = (load_model(f).method.trainable_modules.state_dict() for f in (taught_base, out))
    changed = {name for name in old if not old[name].equal(new[name])}
    assert changed
    assert all(name.startswith(("mapper.up.3", "mapper.heads.out")) for name in changed)


def test_the_figures_are_those_of_the_model_that_is_loaded(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path
) -> None:
    from napari_latentseg.api import evaluate

    out = tmp_path / "candidate"
    _, events = tuned(taught_base, data, out)
    report = evaluate(out, data, source="none", samples=1, subset="validation", device="cpu")
    assert report.image_count == 2
    assert report.mean.dsc == pytest.approx(events[-1]["dsc"], abs=2e-3)


def test_the_same_twice(own_home: Path, taught_base: Path, data: Path, tmp_path: Path) -> None:
    weights = [
        tuned(taught_base, data, tmp_path / name)[0].out.joinpath(WEIGHTS_FILE).read_bytes() for name in "ab"
    ]
    assert weights[0] == weights[1]


def test_previews_are_small_pictures(own_home: Path, taught_base: Path, data: Path, tmp_path: Path) -> None:
    _, events = tuned(taught_base, data, tmp_path / "c", steps=4)
    for event in named(events, "preview"):
        assert len(json.dumps(event)) <= 30_000
        assert len(event["cases"]) == 2
        for case in event["cases"]:
            for name in ("before", "now", "yours"):
                assert base64.b64decode(case[name]).startswith(b"\x89PNG")


def test_a_stop_keeps_the_best_and_it_goes_on_exactly(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path
) -> None:
    tuned(taught_base, data, tmp_path / "straight", steps=16)
    out, seen = tmp_path / "stopped", 0

    def stop() -> bool:
        nonlocal seen
        seen += 1
        return seen >= 22

    _, events = tuned(taught_base, data, out, steps=16, should_stop=stop)
    assert events[-1]["stopped"] is True
    assert 0 < named(events, "epoch")[-1]["step"] < 16
    assert load_model(out)
    _, events = tuned(taught_base, data, out, steps=16, resume=True)
    assert events[-1]["stopped"] is False
    assert named(events, "epoch")[-1]["step"] == 16
    assert not checkpoint_folder(out).exists()
    assert load_model(out).method.trainable_modules.state_dict().keys()


def test_going_on_takes_the_same_steps(own_home: Path, taught_base: Path, data: Path, tmp_path: Path) -> None:
    """The weights that learn are those of a run that was never stopped, bit for bit."""
    states = []
    for at in (None, 5):
        out = tmp_path / f"at-{at}"
        made = {"steps": 0}

        def stop(made: dict[str, int] = made, at: int | None = at) -> bool:
            made["steps"] += 1
            return at is not None and made["steps"] == at + 7  # six cases and a round are asked before

        _, events = tuned(taught_base, data, out, steps=12, should_stop=stop, checkpoint_every=0)
        if at is not None:
            assert events[-1]["stopped"] is True
            tuned(taught_base, data, out, steps=12, resume=True, checkpoint_every=0)
        states.append(load_model(out).method.trainable_modules.state_dict())
    assert all(states[0][name].equal(states[1][name]) for name in states[0])


def test_one_case_says_that_nothing_is_kept_apart(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = inverted(write_ellipses(tmp_path / "one", 1, seed=3))
    _, events = tuned(taught_base, data, tmp_path / "c")
    assert events[0]["apart"] == 0
    assert "there is no validation case" in events[0]["note"]
    judged = named(events, "judged")[0]
    assert judged["verdict"] in ("unknown", "worse")
    assert judged["comparison"]["held_out"] is None
    assert named(events, "chosen")[0]["share"] <= 0.5
    assert read_card(tmp_path / "c").metrics == ()


def test_adopted_it_is_the_next_version(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path
) -> None:
    installed = shutil.copytree(taught_base, own_home / "models" / "ellipses")
    FineTuneJob("ellipses", data, minutes=1, name="mine", device="cpu", steps=4)
    job = FineTuneJob("ellipses", data, minutes=1, name="mine", device="cpu", steps=4)
    events = [event.as_dict() for event in job]
    assert job.out == own_home / "candidates" / "mine"
    assert events[-1]["version"] == "2"
    with pytest.raises(
        BadInput, match="name: the fine-tuned model 'mine' waits for a decision; adopt or discard"
    ):
        FineTuneJob("ellipses", data, minutes=1, name="mine", device="cpu", steps=4)
    adopt("mine")
    assert [(v.version, v.is_current) for v in list_versions("ellipses")] == [("1", False), ("2", True)]
    assert list_versions("ellipses")[1].comparison == named(events, "judged")[0]["line"]
    assert tree(installed) == tree(taught_base)
    # and from the new version on
    again = list(FineTuneJob("ellipses", data, minutes=1, name="mine", device="cpu", steps=4))
    assert again[-1].version == "3"
    assert [a.version for a in read_card(own_home / "candidates" / "mine").lineage] == ["1", "2"]


def test_what_cannot_be_learnt_from_is_said(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    def refused(folder: Path, why: str, **more: Any) -> None:
        with pytest.raises(BadInput, match=why) as caught:
            tuned(taught_base, folder, tmp_path / "out", **more)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".part-*"))

    refused(tmp_path / "nowhere", "no such folder")
    empty = write_ellipses(tmp_path / "empty", 3)
    for path in (empty / "masks").iterdir():
        Image.new("L", (64, 48)).save(path)
    refused(empty, "every mask is empty")
    for path in (empty / "masks").iterdir():
        Image.new("L", (64, 48), 255).save(path)
    refused(empty, "every mask marks the whole image")
    wrong = write_ellipses(tmp_path / "wrong", 3)
    Image.new("L", (10, 10), 255).save(wrong / "masks" / "case_1.png")
    refused(wrong, r"case_1.png: has shape \(1, 10, 10\), its image \(1, 48, 64\)")
    several = write_ellipses(tmp_path / "several", 3)
    mask = np.zeros((48, 64), np.uint8)
    mask[:10], mask[20:30] = 1, 3
    Image.fromarray(mask).save(several / "masks" / "case_1.png")
    refused(several, r"holds the labels 1 \(640 pixels\), 3 \(640\); the model has one class, 'ellipse'")
    fine = write_ellipses(tmp_path / "fine", 3)
    refused(fine, "not a possible time", minutes=0)
    refused(fine, "is not a valid model name", name="Ä")
    refused(fine, "holds no stopped training", resume=True)


def test_other_data_does_not_go_on_with_a_stopped_one(
    own_home: Path, taught_base: Path, data: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    seen: list[int] = []
    out = tmp_path / "c"
    tuned(taught_base, data, out, steps=50, should_stop=lambda: seen.append(1) or len(seen) > 12)  # type: ignore[func-returns-value]
    with pytest.raises(BadInput, match="holds a training that was stopped"):
        tuned(taught_base, data, out)
    with pytest.raises(BadInput, match="are not the images and masks"):
        tuned(taught_base, write_ellipses(tmp_path / "other", 6, seed=9), out, resume=True)
    with pytest.raises(BadInput, match="is not that of"):
        tuned(taught_base, data, out, resume=True, seed=4)
    (path,) = checkpoint_folder(out).glob("tensors-*")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="is missing or damaged"):
        tuned(taught_base, data, out, resume=True)
    assert load_model(out)


def test_stopped_before_anything_was_learnt_nothing_is_written(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(Cancelled):
        tuned(taught_base, data, tmp_path / "c", should_stop=lambda: True)
    assert not (tmp_path / "c").exists()
    assert not checkpoint_folder(tmp_path / "c").exists()


def test_a_full_disk_is_said_and_leaves_nothing_half(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(taught_base)
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == REPLAY_FILE:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInput, match="No space left on device"):
        tuned(taught_base, data, tmp_path / "places" / "c", steps=3)
    assert list((tmp_path / "places").iterdir()) == []
    assert tree(taught_base) == before


@pytest.mark.usefixtures("no_garbage_collection")
def test_too_little_memory_means_smaller_batches(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_latentseg.methods.gms import GMS

    sizes: list[int] = []
    loss, encode = GMS._fine_tune_loss, GMS.encode

    def small_loss(self: Any, map_features: Any, features: Any, *rest: Any) -> Any:
        sizes.append(len(features))
        if len(features) > 4:
            raise MemoryError
        return loss(self, map_features, features, *rest)

    def small_encode(self: Any, images: Any) -> Any:
        if len(images) > 2:
            raise MemoryError
        return encode(self, images)

    monkeypatch.setattr(GMS, "_fine_tune_loss", small_loss)
    monkeypatch.setattr(GMS, "encode", small_encode)
    _, events = tuned(taught_base, data, tmp_path / "c", steps=3)
    assert sizes[:3] == [16, 8, 4]
    assert sizes[-1] == 4
    assert events[-1]["event"] == "saved"


def test_a_model_without_replay_says_so(
    own_home: Path, tiny_model_folder: Path, data: Path, tmp_path: Path
) -> None:
    _, events = tuned(tiny_model_folder, data, tmp_path / "c", steps=3)
    assert events[0]["replay"] == 0
    assert "may forget" in events[0]["note"]
    assert named(events, "judged")[0]["comparison"]["own"] is None


def test_a_checkpoint_that_is_cut_short_leaves_the_one_before(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in the middle of a checkpoint: the former one is read."""
    out = tmp_path / "c"
    job = FineTuneJob(
        taught_base, data, out, minutes=1, name="mine", device="cpu", steps=16, checkpoint_every=0
    )
    looks = 0
    for event in job:
        looks += event.event == "epoch"
        if looks == 4:
            break
    folder = checkpoint_folder(out)
    (folder / "tensors-0000.safetensors").write_bytes(b"half")
    assert Checkpoint(folder).read().metadata["at"]["step"] >= 1
    _, events = tuned(taught_base, data, out, steps=16, resume=True)
    assert events[-1]["stopped"] is False


def test_nothing_in_the_folder_tells_a_path_or_a_file(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c"
    tuned(taught_base, data, out, steps=3)
    for path in out.iterdir():
        for word in (str(tmp_path), str(data), "case_0", "case_5"):
            assert word.encode() not in path.read_bytes(), path.name


def test_of_a_model_with_members_the_first_is_fine_tuned(
    own_home: Path, taught_base: Path, data: Path, tmp_path: Path
) -> None:
    model = load_model(taught_base)
    card = model.card.replace(members=2, sources=("members", "augment", "none"), member_parts="predictor")
    base = tmp_path / "ellipses"
    extras = {name: (taught_base / name).read_bytes() for name in (REPLAY_FILE, "split.json")}
    save_model_folder(base, model.method, card, extras, other_members=[model.method])
    before = tree(base)
    _, events = tuned(base, data, tmp_path / "candidate", steps=5)
    assert tree(base) == before
    note = "only 2 validation cases, of 6; the first of 2 members is fine-tuned, and is kept alone"
    assert events[0]["note"] == note
    assert events[0]["replay"] > 0
    tuned_card = read_card(tmp_path / "candidate")
    assert (tuned_card.members, tuned_card.member_parts, tuned_card.sources) == (
        1,
        "all",
        ("augment", "none"),
    )
    assert not list((tmp_path / "candidate").glob("member-*"))
    assert load_model(tmp_path / "candidate").members

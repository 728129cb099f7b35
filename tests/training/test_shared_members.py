"""Members that share the conditioner of the first: what is trained, stored and taken up again."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.helpers.toy_method import GMS, config_of, same_weights

from napari_latentseg.api import train_members
from napari_latentseg.core.record import MEMBER_SOURCES
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.methods.registry import METHODS
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.models.store import load_model, open_codec
from napari_latentseg.training.batches import bootstrap_images
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import read_dataset
from napari_latentseg.training.job import TrainingJob

SHARED = GMS | {
    "settings": {"width": 16, "levels": ["out"], "conditioner": "trained"},
    "members": 3,
    "member_parts": "predictor",
    "member_training": {"epochs": 2},
}


@pytest.fixture(scope="module")
def train(ellipses_folder: Path, tiny_codec_folder: Path) -> Callable[..., ModelCard]:
    def trained(out: Path, changes: dict[str, Any] | None = None, **more: Any) -> ModelCard:
        codec, spec = open_codec(tiny_codec_folder.name)
        job = TrainingJob(
            ellipses_folder, out, config_of(SHARED | (changes or {})), codec, spec,
            checkpoint_every=0, device="cpu", **more,
        )  # fmt: skip
        list(job)
        return read_card(out)

    return trained


@pytest.fixture(scope="module")
def three(train: Callable[..., ModelCard], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with three members on one conditioner."""
    out = tmp_path_factory.mktemp("shared") / "three"
    train(out)
    return out


@pytest.fixture(scope="module")
def single(train: Callable[..., ModelCard], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with one member."""
    out = tmp_path_factory.mktemp("single") / "single"
    train(out, {"members": 1})
    return out


def tensor_names(path: Path) -> set[str]:
    with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        return {name.split(".")[0] for name in file.keys()}  # noqa: SIM118


def test_files_of_further_members_hold_the_predictor_alone(three: Path) -> None:
    card, model = read_card(three), load_model(three)
    assert (card.members, card.member_parts, len(card.member_dsc)) == (3, "predictor", 3)
    assert set(MEMBER_SOURCES) <= set(card.sources)
    assert tensor_names(three / "weights.safetensors") == {"mapper", "conditioner"}
    for name in ("member-2.safetensors", "member-3.safetensors"):
        assert tensor_names(three / name) == {"mapper"}
        assert (three / name).stat().st_size < (three / "weights.safetensors").stat().st_size
    assert len({id(m.trainable_modules["conditioner"]) for m in model.members}) == 1
    assert len({id(m.trainable_modules["mapper"]) for m in model.members}) == 3
    stems = [m.trainable_modules["mapper"].state_dict()["stem.weight"] for m in model.members]
    assert not torch.equal(stems[1], stems[2])
    run = json.loads((three / "training.json").read_text())["run"]
    assert run["seeds"] == [2333, 2334, 2335]


def test_the_first_member_is_trained_as_a_model_of_one(three: Path, single: Path) -> None:
    assert read_card(three).files["weights.safetensors"] == read_card(single).files["weights.safetensors"]


def test_further_members_get_the_epochs_that_are_set_or_a_third() -> None:
    config = TrainingConfig(members=3, member_parts="predictor", epochs=10, seed=5)
    assert [(config.for_member(i).epochs, config.for_member(i).seed) for i in range(3)] == [
        (10, 5), (4, 6), (4, 7),
    ]  # fmt: skip
    in_steps = config.replace(steps=100)
    assert (in_steps.for_member(0).steps, in_steps.for_member(1).steps) == (100, 34)
    assert in_steps.replace(member_training={"epochs": 2}).for_member(1).steps is None
    assert config.replace(member_parts="all").for_member(2).epochs == 10
    staged = config.replace(stages={"": {"learning_rate": 1}})
    assert staged.for_member(1).for_stage("").learning_rate == config.learning_rate


def test_a_bootstrap_sample_draws_whole_images_with_replacement(ellipses_folder: Path) -> None:
    slices = read_dataset(ellipses_folder, config_of({})).train
    samples = [bootstrap_images(slices, seed) for seed in range(8)]
    known = {id(s) for s in slices}
    for sample in samples:
        assert len(sample) == len(slices)
        assert {id(s) for s in sample} <= known
    assert max(Counter(map(id, samples[0])).values()) > 1
    assert len({tuple(map(id, sample)) for sample in samples}) > 1
    assert [id(s) for s in bootstrap_images(slices, 3)] == [id(s) for s in samples[3]]


@dataclass(frozen=True)
class NamedSlice:
    """What a draw looks at of a slice."""

    content_sha256: str
    has_annotated_foreground: bool


def test_a_bootstrap_sample_is_never_without_a_target() -> None:
    slices: Any = [NamedSlice(str(i), i == 0) for i in range(6)]
    for seed in range(20):
        assert any(s.has_annotated_foreground for s in bootstrap_images(slices, seed))
    empty: Any = [NamedSlice("a", False), NamedSlice("b", False)]
    assert len(bootstrap_images(empty, 0)) == 2


@pytest.mark.parametrize("asked", [6, 12, 17])
def test_stopped_anywhere_it_goes_on_to_the_same_weights(
    three: Path, train: Callable[..., ModelCard], tmp_path: Path, asked: int
) -> None:
    """The first member has 12 batches, each further one 6; reading the images asks five times."""
    numbers = iter(range(1, 10_000))
    out = tmp_path / "three"
    train(out, should_stop=lambda: next(numbers) >= 5 + asked)
    assert read_card(out).members < 3
    train(out, resume=True)
    whole, resumed = read_card(three).files, read_card(out).files
    assert {n: h for n, h in whole.items() if n.endswith("safetensors")} == {
        n: h for n, h in resumed.items() if n.endswith("safetensors")
    }
    assert not out.with_name("three.checkpoint").exists()


@pytest.mark.parametrize("method", sorted(name for name, cls in METHODS.items() if not cls.predictor_parts))
def test_methods_whose_predictor_is_not_apart_are_refused(method: str, ellipses_folder: Path, tmp_path: Path):
    config = TrainingConfig(method=method, members=2, member_parts="predictor", codec=None)
    why = rf"member_parts: is 'predictor', which cannot be trained apart from the rest in {method}; use 'all'"
    with pytest.raises(BadInput, match=why):
        TrainingJob(ellipses_folder, tmp_path / "m", config, None, None)


def test_members_of_a_model_are_those_of_a_training_of_all(
    three: Path, single: Path, ellipses_folder: Path, tmp_path: Path
) -> None:
    before = {p.name: p.read_bytes() for p in single.iterdir()}
    card = train_members(single, ellipses_folder, tmp_path / "out", members=3, epochs=2, device="cpu")
    own = {n: h for n, h in card.files.items() if n.endswith("safetensors")}
    assert own == {n: h for n, h in read_card(three).files.items() if n.endswith("safetensors")}
    assert (card.name, card.members, card.member_parts) == ("out", 3, "predictor")
    # in bfloat16, a pixel at the threshold may fall to the other side
    assert card.member_dsc == pytest.approx(read_card(three).member_dsc, abs=5e-4)
    assert card.training_data == read_card(single).training_data
    assert {m.source for m in card.metrics} >= set(MEMBER_SOURCES)
    about = json.loads((tmp_path / "out" / "training.json").read_text())
    assert about["run"]["members_of"] == "single 1"
    assert about["split"]["of_model"] == "single"
    assert (tmp_path / "out" / "split.json").read_text() == (single / "split.json").read_text()
    assert {p.name: p.read_bytes() for p in single.iterdir()} == before


def test_members_of_a_model_can_be_stopped_and_go_on(
    three: Path, single: Path, ellipses_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given: dict[str, Any] = {"members": 3, "epochs": 2, "device": "cpu"}
    numbers = iter(range(1, 10_000))
    card = train_members(single, ellipses_folder, out, **given, should_stop=lambda: next(numbers) >= 9)
    assert card.members == 2
    with pytest.raises(BadInput, match="members: is 2, but was 3"):
        train_members(single, ellipses_folder, out, members=2, epochs=2, device="cpu", resume=True)
    card = train_members(single, ellipses_folder, out, **given, resume=True)
    # in bfloat16, a pixel at the threshold may fall to the other side
    assert card.member_dsc == pytest.approx(read_card(three).member_dsc, abs=5e-4)
    assert card.files["member-3.safetensors"] == read_card(three).files["member-3.safetensors"]


def test_stopped_before_a_second_member_there_is_no_model(
    single: Path, ellipses_folder: Path, tmp_path: Path
) -> None:
    events: list[Any] = []
    with pytest.raises(Cancelled):
        train_members(
            single, ellipses_folder, tmp_path / "out", device="cpu",
            changes={"schedule_by": "epoch"},  # the first epoch has a learning rate of zero
            on_event=events.append, should_stop=lambda: any(e.event == "data" for e in events),
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_other_data_are_refused(
    single: Path, ellipses_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    fewer = Path(shutil.copytree(ellipses_folder, tmp_path / "data"))
    (fewer / "images" / "case_1.png").unlink()
    (fewer / "masks" / "case_1.png").unlink()
    with pytest.raises(BadInput, match="data: lacks 1 of 5 images that single was trained and validated on"):
        train_members(single, fewer, tmp_path / "out", device="cpu")
    others = write_ellipses(tmp_path / "others" / "data", count=5, seed=9)
    with pytest.raises(BadInput, match="data: lacks 5 of 5 images"):
        train_members(single, others, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_images_that_the_model_never_saw_are_not_used(
    three: Path, single: Path, ellipses_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    more = Path(shutil.copytree(ellipses_folder, tmp_path / "data"))
    others = write_ellipses(tmp_path / "others", count=2, seed=9)
    for part in ("images", "masks"):
        for path in (others / part).iterdir():
            shutil.copy(path, more / part / f"new_{path.name}")
    notes: list[str] = []
    card = train_members(
        single, more, tmp_path / "out", epochs=2, device="cpu",
        on_event=lambda e: notes.append(e.note) if e.event == "data" else None,
    )  # fmt: skip
    assert notes == ["2 images of data were not in the training and are not used"]
    assert card.files["member-3.safetensors"] == read_card(three).files["member-3.safetensors"]


def test_models_that_cannot_have_further_members_are_refused(
    three: Path, single: Path, ellipses_folder: Path, tmp_path: Path
) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(BadInput) as error:
            train_members(folder, ellipses_folder, tmp_path / "out", device="cpu")
        return str(error.value)

    assert refused(three) == "three: has 3 members already; give a model of one"
    card = read_card(single)

    def changed(name: str, **fields: Any) -> Path:
        folder = Path(shutil.copytree(single, tmp_path / name))
        card.replace(**fields).write(folder / "card.json")
        return folder

    ancestor = {"name": "old", "version": "1", "sha256": "0" * 64}
    tuned = changed("tuned", parent="old 1", lineage=[ancestor])
    assert (
        refused(tuned)
        == "single: was fine-tuned, so its training cannot be repeated; give the model that it came from, old"
    )
    without = changed("without", files={n: h for n, h in card.files.items() if n != "training.json"})
    (without / "training.json").unlink()
    assert "has no training.json, which says how it was trained" in refused(without)
    unsplit = changed("unsplit", files={n: h for n, h in card.files.items() if n != "split.json"})
    (unsplit / "split.json").unlink()
    assert "has no split.json, which says what it was trained on" in refused(unsplit)
    with pytest.raises(BadInput, match="members: 1 is the model itself; give 2 or more"):
        train_members(single, ellipses_folder, tmp_path / "out", members=1)


def test_a_missing_or_foreign_member_file_is_named(three: Path, single: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(three, tmp_path / "three"))
    (folder / "member-3.safetensors").unlink()
    with pytest.raises(BadInput, match=r"member-3\.safetensors: is missing; install the model again"):
        load_model(folder)
    shutil.copy(three / "member-2.safetensors", folder / "member-3.safetensors")
    with pytest.raises(BadInput, match=r"member-3\.safetensors: is not the file listed in the card"):
        load_model(folder)
    shutil.copy(three / "member-3.safetensors", folder / "member-3.safetensors")
    # a card that calls for whole members finds the conditioner missing in the file
    read_card(folder).replace(member_parts="all").write(folder / "card.json")
    with pytest.raises(BadInput, match=r"member-2\.safetensors: is not for this model: 14 weights missing"):
        load_model(folder)


def test_the_same_weights_come_back(three: Path, train: Callable[..., ModelCard], tmp_path: Path) -> None:
    train(tmp_path / "again")
    first, again = (
        [m.trainable_modules.state_dict() for m in load_model(f).members] for f in (three, tmp_path / "again")
    )
    assert same_weights(first, again)
    assert np.isfinite(read_card(three).member_dsc).all()

"""A training on several data sets, from the folders to a model that can be judged."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.two_sets import TWO_SETS_CONFIG, write_set, write_two_sets

from napari_latentseg.api import evaluate, train
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.slices import Slice
from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.models.store import load_model
from napari_latentseg.training.batches import sample_planes, training_batches
from napari_latentseg.training.config import TrainingConfig, with_changes
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.dataset_config import SliceSamplingConfig
from napari_latentseg.training.datasets import class_infos, find_datasets
from napari_latentseg.training.events import TrainEpoch
from napari_latentseg.training.job import TrainingJob
from napari_latentseg.training.job_records import total_seconds
from napari_latentseg.training.named_classes import unannotated_classes, without_classes
from napari_latentseg.training.provenance import combined_licence, training_data_records


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_two_sets(tmp_path_factory.mktemp("sets"))


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(TWO_SETS_CONFIG | changes)


@pytest.fixture(scope="module")
def data(folders: list[Path]) -> Dataset:
    return read_dataset(folders, config())


def test_masks_have_a_channel_a_class_and_know_what_was_looked_for(data: Dataset) -> None:
    for e in (*data.train, *data.validation):
        assert e.mask.shape == (3, 32, 32)
        organ, tumour, vessel = e.mask.bool()
        if e.dataset == "first":
            assert e.annotated == (True, True, False)
            assert bool(tumour.any())
            assert bool(organ[tumour].all())
            assert int(organ.sum()) > int(tumour.sum())
            assert not bool(vessel.any())
        else:
            assert e.annotated == (False, False, True)
            assert bool(vessel.any())


def test_of_every_set_whole_patients_are_kept_apart(data: Dataset) -> None:
    for name in ("first", "second"):
        assert any(e.dataset == name for e in data.validation)
        assert any(e.dataset == name for e in data.train)
    kept = [e for e in data.validation if e.dataset == "second"]
    assert len(kept) % 2 == 0  # both images of a patient
    assert not {e.content_sha256 for e in data.train} & {e.content_sha256 for e in data.validation}


def test_every_so_manieth_plane_of_a_set_is_read(folders: list[Path], tmp_path: Path) -> None:
    import nibabel as nib

    for part, value in (("images", 90), ("masks", 1)):
        (tmp_path / "first" / part).mkdir(parents=True)
        for name in "ab":
            volume = np.zeros((16, 16, 7), dtype=np.uint8)
            volume[4:9, 4:9] = value
            volume[0, 0, 0] = {"a": 0, "b": 2}[name] if part == "images" else 0
            nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "first" / part / f"{name}.nii.gz")
    sets = TWO_SETS_CONFIG["datasets"] | {"first": TWO_SETS_CONFIG["datasets"]["first"] | {"every": 3}}
    found = read_dataset(tmp_path / "first", config(datasets=sets))
    assert (len(found.train), len(found.validation)) == (3, 3)


def test_sets_and_cases_are_drawn_alike_and_active_planes_oftener() -> None:
    blank, seen = torch.zeros(1, 2, 2, dtype=torch.uint8), torch.ones(1, 2, 2, dtype=torch.uint8)
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    examples = [Slice(image, blank, "long", dataset="a") for _ in range(90)]
    examples += [Slice(image, seen, "long", dataset="a") for _ in range(10)]
    examples += [
        Slice(image, seen, "short", dataset="a"),
        Slice(image, blank, "only", dataset="b"),
    ]
    order = sample_planes(
        examples, SliceSamplingConfig(planes=4000, active_share=0.8), np.random.default_rng(0)
    )
    share = np.bincount(order, minlength=102) / 4000
    assert share[101] == pytest.approx(0.5, abs=0.04)
    assert share[100] == pytest.approx(0.25, abs=0.04)
    assert share[:90].sum() == pytest.approx(0.25 * 0.2 * 0.9, abs=0.02)


def test_an_epoch_has_as_many_planes_as_it_says(data: Dataset) -> None:
    drawn = config(draw={"planes": 18})
    batches = list(training_batches(data.train, drawn, np.random.default_rng(0)))
    assert [len(b.images) for b in batches] == [4] * 4
    assert batches[0].annotated is not None
    assert batches[0].annotated.shape == (4, 3)


@pytest.mark.parametrize(
    ("said", "licences", "expected"),
    [
        ("MIT", ["CC BY 4.0", "CC0"], "MIT"),
        ("MIT", ["CC BY 4.0", "CC BY-NC-SA 4.0"], "research use only"),
        ("MIT", ["for research and education"], "research use only"),
        ("research use, cite us", ["non-commercial"], "research use, cite us"),
    ],
)
def test_a_set_that_allows_research_alone_binds_the_model(
    said: str, licences: list[str], expected: str
) -> None:
    assert combined_licence(said, licences) == expected


def test_classes_and_settings_must_agree() -> None:
    with pytest.raises(ValueError, match="3 are named, but the settings have 2"):
        config(settings=TWO_SETS_CONFIG["settings"] | {"classes": 2})


def test_neighbouring_slices_are_not_mixed_to_grey(folders: list[Path], tmp_path: Path) -> None:
    changes = {
        "preprocess": {"mode": "whole", "size": 32, "neighbours": 1.0},
        "augment": TWO_SETS_CONFIG["augment"] | {"hue": 0, "saturation": 0},
    }
    with pytest.raises(BadInput, match=r"preprocess.neighbours: .* into grey.*; set image_channels to 3"):
        list(TrainingJob(folders, tmp_path / "grey", config(**changes), None, None, device="cpu"))
    settings = TWO_SETS_CONFIG["settings"]
    settings = settings | {"image_autoencoder": settings["image_autoencoder"] | {"image_channels": 3}}
    out = tmp_path / "three"
    list(TrainingJob(folders, out, config(**changes, settings=settings), None, None, device="cpu"))
    assert "sees neighbouring slices" in read_card(out).deviations_from_paper


@pytest.fixture(scope="module")
def done(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelCard]:
    out = tmp_path_factory.mktemp("trained") / "universal"
    events = list(TrainingJob(folders, out, config(), None, None, device="cpu"))
    assert [e.stage for e in events if e.event == "epoch"] == ["autoencoders", "diffusion"]
    return out, read_card(out)


def test_the_card_has_all_classes_and_all_data(done: tuple[Path, ModelCard], folders: list[Path]) -> None:
    out, card = done
    assert [(c.label, c.name, c.color) for c in card.classes] == [
        (1, "organ", "#ff0000"), (2, "tumour", "#00ff00"), (3, "vessel", "#0000ff"),
    ]  # fmt: skip
    assert card.classes[0].includes == ("tumour",)
    assert [(t.name, t.licence, t.folder) for t in card.training_data] == [
        ("First set", "CC BY 4.0", "first"), ("Second set", "CC BY-NC 4.0", "second"),
    ]  # fmt: skip
    assert [t.images + t.validation_images for t in card.training_data] == [6, 8]
    assert "by image" in card.training_data[0].split
    assert "by patient" in card.training_data[1].split
    assert card.licence == "research use only"
    assert card.sources == ("noise",)
    # each set is judged by itself, with one sample and with several
    assert [(m.samples, m.data.split(":")[0]) for m in card.metrics] == [
        (1, "First set"), (1, "Second set"), (3, "First set"), (3, "Second set"),
    ]  # fmt: skip
    written = "".join(p.read_text("utf-8", errors="replace") for p in out.iterdir())
    assert str(folders[0].parent) not in written
    assert len(json.loads((out / "split.json").read_text())["validation"]) == 2 + 4


def test_the_card_says_how_the_data_were_split(folders: list[Path]) -> None:
    """In blocks of files, but for a set that knows its patients."""
    blocks = config(split={"fraction": 0.3, "block": 2})
    found = training_data_records(find_datasets(folders, blocks), read_dataset(folders, blocks), blocks)
    assert [t.split for t in found] == ["30 % by blocks of 2 files, seed 0", "30 % by patient, seed 0"]


def test_the_time_is_that_of_all_stages_and_members() -> None:
    """Each of them has a clock of its own."""
    told = [(1, "a", 2.0), (1, "a", 3.0), (1, "b", 10.0), (2, "a", 4.0), (2, "b", 20.0)]
    assert total_seconds([epoch(m, s, t) for m, s, t in told]) == 37
    assert total_seconds([epoch(None, "", t) for t in (1.0, 2.5)]) == 2.5


def epoch(member: int | None, stage: str, seconds: float) -> TrainEpoch:
    return TrainEpoch(
        member=member, stage=stage, epoch=1, epochs=1, losses={}, learning_rate=1e-3, dsc=None, best=None,
        seconds=seconds,
    )  # fmt: skip


def test_each_set_is_judged_by_its_own_classes(done: tuple[Path, ModelCard], folders: list[Path]) -> None:
    """By hand: the labels of the files through the map, the answer as a set with what it includes.

    This barely trained model gives two classes the same probability but for rounding, which depends on the
    batch: so here the images share batches, too.
    """
    out, card = done
    report = evaluate(out, folders[0], samples=1)
    from napari_latentseg.evaluation.metrics import dice
    from napari_latentseg.inference.predictor import Predictor
    from napari_latentseg.inference.segment_each import segment_each
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.io import read_scan

    name = report.images[0].name
    scans = [(image.name, read_scan(folders[0] / "images" / f"{image.name}.png")) for image in report.images]
    settings = InferenceSettings.for_model(card, samples=1)
    found = dict(segment_each(Predictor(load_model(out), "cpu"), scans, settings))[name]
    truth = np.asarray(Image.open(folders[0] / "masks" / f"{name}.png"))
    organ = dice(np.isin(found.mask, (1, 2)), truth > 0)
    tumour = dice(found.mask == 2, truth == 2)
    assert report.images[0].dsc == pytest.approx((organ + tumour) / 2, abs=1e-6)


def test_a_folder_without_a_map_is_refused_before_the_work(folders: list[Path], tmp_path: Path) -> None:
    from napari_latentseg.training.datasets import find_datasets

    other = write_set(tmp_path / "third", ["a", "b"], [1], 3)
    with pytest.raises(BadInput, match="third: has no map of its labels"):
        find_datasets([*folders, other], config())


def test_one_set_of_several_is_trained_on_alone_with_its_own_classes(
    folders: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TWO_SETS_CONFIG))
    notes: list[str] = []
    card = train(
        folders[0], tmp_path / "m", config=tmp_path / "tiny.json", device="cpu", on_note=notes.append
    )
    assert notes == ["classes that no data set here annotates are left out: vessel"]
    assert [(c.label, c.name, c.includes) for c in card.classes] == [
        (1, "organ", ("tumour",)), (2, "tumour", ()),
    ]  # fmt: skip
    assert card.settings["classes"] == 2
    assert load_model(tmp_path / "m").method.class_count == 2


def test_with_all_sets_every_class_is_learnt(folders: list[Path]) -> None:
    assert unannotated_classes(find_datasets(folders, config())) == []


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (("msd_liver",), 2), (("msd_lung",), 1), (("btcv",), 13), (("kits23",), 4), (("tcia_pancreas",), 1),
        (("abdomenct_1k",), 5), (("amos_ct",), 15), (("word",), 17),
        (("msd_liver", "msd_lung", "msd_pancreas", "msd_hepatic_vessel", "msd_spleen", "msd_colon"), 9),
    ],
)  # fmt: skip
def test_each_set_of_the_paper_has_its_number_of_classes(names: tuple[str, ...], count: int) -> None:
    """Table 1; the paper counts both adrenal glands as one, and this package as two."""
    abdomen = load_config("guided-abdomen")
    classes = class_infos(abdomen)
    sets: Any = [
        SimpleNamespace(name=n, label_map=LabelMap(classes, abdomen.datasets[n].labels)) for n in names
    ]
    left_out = unannotated_classes(sets)
    alone = with_changes(abdomen, without_classes(abdomen, left_out, sets))
    assert len(alone.classes) == alone.settings["classes"] == count
    assert set(alone.datasets) == set(names)
    included = {name for c in class_infos(alone) for name in c.includes}  # which checks that these are there
    assert included.isdisjoint(left_out)

"""A model of one structure is taught from one that is pointed at."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.api import adopt_model, segment
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.finetuning.new_structure import add_prompt, promptless_model
from napari_latentseg.methods.gms import GMS
from napari_latentseg.methods.prompted import PromptedMapping
from napari_latentseg.models.card import read_card
from napari_latentseg.models.install import install_folder
from napari_latentseg.models.store import find_model, load_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, tiny_codec_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that holds the codec and nothing else."""
    shutil.copytree(tiny_codec_folder, tmp_path / "home" / "codecs" / tiny_codec_folder.name)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "home"))


@pytest.fixture
def data(write_ellipses: Callable[..., Path], tmp_path: Path) -> Path:
    return write_ellipses(tmp_path / "data")


def test_it_answers_as_if_the_prompt_were_given_everywhere(tiny_prompted_folder: Path) -> None:
    base = load_model(tiny_prompted_folder)
    prompted = base.method
    assert isinstance(prompted, PromptedMapping)
    generator = torch.Generator().manual_seed(0)
    latents, prompt = torch.rand(1, 8, 9, 9, generator=generator), torch.rand(16, generator=generator)
    model = promptless_model(base, "  cyst ")
    assert isinstance(model.method, GMS)
    add_prompt(model, prompted, prompt)
    with torch.no_grad():
        everywhere = prompt[None, :, None, None].expand(-1, -1, 9, 9)
        expected = prompted.mapper.stem(torch.cat([latents, everywhere], dim=1))
        found = model.method.mapper.stem(latents)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])  # but for the padding
    assert model.card.classes[0].name == "cyst"
    assert (model.card.title, model.card.method) == ("Cyst", "gms")
    assert not model.card.takes_prompts
    assert load_model(tiny_prompted_folder).card.takes_prompts


def test_what_was_taught_is_a_model_of_its_own(tiny_prompted_folder: Path, data: Path) -> None:
    install_folder(tiny_prompted_folder)
    job = FineTuneJob("tiny-prompted", data, structure="Left cyst", steps=3, device="cpu")
    events = list(job)
    assert events[-1].event == "saved"
    card = read_card(job.out)
    assert (card.name, card.method, card.parent) == ("left-cyst", "gms", "tiny-prompted 1")
    assert card.lineage[-1].sha256 == read_card(tiny_prompted_folder).files["weights.safetensors"]
    assert events[0].event == "data"
    assert "replay" not in events[0].note
    adopted = adopt_model("left-cyst")
    assert adopted.name == "left-cyst"
    assert find_model("left-cyst") != find_model("tiny-prompted")
    assert read_card(find_model("tiny-prompted")).takes_prompts
    image = next((data / "images").iterdir())
    assert segment(image, "left-cyst", source="none").classes[0].name == "Left cyst"


def test_of_a_single_image_all_that_was_learnt_is_kept(
    tiny_prompted_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    """The base does not know the structure, so half of the way back to it would serve nobody."""
    data = write_ellipses(tmp_path / "single", 1)
    out = tmp_path / "model"
    job = FineTuneJob(tiny_prompted_folder, data, out, structure="cyst", steps=2, device="cpu", long_side=64)
    events = {event.event: event for event in job}
    assert events["chosen"].event == "chosen"
    assert events["chosen"].share == 1
    assert events["data"].event == "data"
    assert "all of the change is kept" in events["data"].note


@pytest.mark.parametrize("structure", [None, " "])
def test_a_structure_without_a_name_is_refused(
    tiny_prompted_folder: Path, data: Path, structure: str | None
) -> None:
    with pytest.raises(BadInput, match="structure: has no name"):
        FineTuneJob(tiny_prompted_folder, data, structure=structure)


def test_a_model_with_classes_is_taught_those(tiny_model_folder: Path, data: Path) -> None:
    with pytest.raises(BadInput, match="has its own classes"):
        FineTuneJob(tiny_model_folder, data, structure="cyst")


def test_numbered_objects_teach_their_class(tiny_prompted_folder: Path, tmp_path: Path) -> None:
    """What was pointed at is approved object by object: lesion 1 and lesion 2 are both a lesion."""
    names = ("lesion 1", "lesion 2", "kidney 1")
    classes = [ClassInfo(label=n, name=name, color="#112233") for n, name in enumerate(names, 1)]
    rng = np.random.default_rng(0)
    with AnnotationStore(tmp_path / "approved") as store:
        for _ in range(4):
            mask = np.zeros((48, 64), np.uint8)
            for label, (top, left) in enumerate(((4, 6), (26, 8), (10, 40)), 1):
                mask[top : top + 14, left : left + 14] = label
            image = np.clip(rng.normal(90, 8, mask.shape) + 80 * (mask > 0), 0, 255).astype(np.uint8)
            store.approve(Scan(image, "yx", Geometry.from_spacing("yx")), mask, classes=classes)
    install_folder(tiny_prompted_folder)
    job = FineTuneJob("tiny-prompted", tmp_path / "approved", structure="lesion", steps=2, device="cpu")
    assert [event.event for event in job][-1] == "saved"
    case = job.cases[0]
    assert case.label_map is not None
    labels = np.arange(4, dtype=np.uint8)[None]
    assert (case.label_map.to_class_numbers(labels) > 0).tolist() == [[False, True, True, False]]
    assert case.unknown_labels == {3: "kidney 1"}

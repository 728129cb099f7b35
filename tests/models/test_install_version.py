"""A fine-tuned model on another machine, as a version where lineage and hashes fit; removing one version."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_latentseg import api
from napari_latentseg.errors import BadInput
from napari_latentseg.models.archive import export_model
from napari_latentseg.models.candidates import adopt, candidate_folder
from napari_latentseg.models.card import Ancestor, MetricRecord
from napari_latentseg.models.card_text import card_text, dice_text
from napari_latentseg.models.folder import save_model_folder
from napari_latentseg.models.layout import COMPARISON_FILE, WEIGHTS_FILE
from napari_latentseg.models.store import find_model, load_model
from napari_latentseg.models.versions import list_versions, revert

HELD_OUT = {"held_out": {"cases": 2, "before": {"dsc": 0.78}, "after": {"dsc": 0.81}}, "line": "Better"}


@pytest.fixture
def teach(home: Path) -> Callable[..., Path]:
    def taught(base: str = "lesions", by: float = 0.01, *, with_base: bool = True) -> Path:
        model = load_model(base)
        with torch.no_grad():
            for weight in model.method.trainable_modules.parameters():
                weight.add_(by)
        card = model.card
        metric = MetricRecord(
            data="two cases", images=2, samples=1, source="none", values={"dsc": 0.81},
            base_values={"dsc": 0.78} if with_base else {},
        )  # fmt: skip
        parent = Ancestor(name=card.name, version=card.version, sha256=card.files[WEIGHTS_FILE])
        card = card.replace(
            name=f"{base}-tuned",
            lineage=(*card.lineage, parent),
            parent=f"{card.name} {card.version}",
            metrics=(metric,),
        )
        folder = candidate_folder(card.name)
        save_model_folder(folder, model.method, card, {COMPARISON_FILE: json.dumps(HELD_OUT).encode()})
        return adopt(folder)

    return taught


def versions() -> list[tuple[str, bool]]:
    return [(v.version, v.is_current) for v in list_versions("lesions")]


@pytest.fixture
def third(teach: Callable[..., Path], home: Path, tmp_path: Path) -> Path:
    """Version 3 as a zip file; here are only version 1 and no trace of the others."""
    teach(by=0.01)
    teach(by=0.02)
    assert versions() == [("1", False), ("2", False), ("3", True)]
    path = export_model("lesions", tmp_path / "third.zip")
    shutil.rmtree(home / "versions")
    return path


def test_it_is_a_version_where_an_ancestor_is_here_and_keeps_its_number(third: Path, home: Path) -> None:
    plan = api.plan_install(third)
    assert (plan.name, plan.is_taken, plan.parent, plan.parent_version) == ("lesions", True, "lesions", "3")
    assert (plan.free_name, plan.has_lineage, plan.is_embedded) == ("lesions-2", True, False)
    card = api.install_model(third, as_version=True)
    assert (card.name, card.version) == ("lesions", "3")
    assert versions() == [("1", False), ("3", True)]
    assert load_model("lesions").card.version == "3"
    api.install_model(third, as_version=True)  # the same again is not a second version
    assert versions() == [("1", False), ("3", True)]


def test_of_other_weights_it_is_no_version(third: Path, home: Path) -> None:
    model = load_model("lesions")
    card = model.card
    with torch.no_grad():
        next(model.method.trainable_modules.parameters()).add_(1)
    shutil.rmtree(find_model("lesions"))
    save_model_folder(home / "models" / "lesions", model.method, card)
    plan = api.plan_install(third)
    assert (plan.is_taken, plan.parent, plan.has_lineage) == (True, "", True)
    with pytest.raises(
        BadInput, match="fine-tuned from no model with weights that are here; give it another"
    ):
        api.install_model(third, as_version=True)
    assert versions() == [("1", True)]
    assert api.install_model(third, name=plan.free_name).name == "lesions-2"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("notes.py", b"print()", "is not a model: it is neither a .zip nor a .pth file"),
        ("notes.zip", b"print()", "is not a model: it is damaged, or not a zip file"),
        ("notes.pth", b"print()", "is not a model: it is not a file that torch has written"),
        ("notes.pth", pickle.dumps({"a": 1}), "notes.pth"),
    ],
)
def test_a_wrong_file_is_no_model_whatever_codec_there_is(
    home: Path, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=why) as caught:
        api.install_model(path)
    assert "codec" not in str(caught.value)
    if "is not a model" in why:
        with pytest.raises(BadInput, match=why):
            api.plan_install(path)


def test_a_folder_without_a_card_is_no_model(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is not a model: it holds no card\.json"):
        api.install_model(tmp_path)


def test_one_version_is_removed_and_the_others_stay(teach: Callable[..., Path]) -> None:
    teach(by=0.01)
    teach(by=0.02)
    api.remove_model("lesions", "3")
    assert versions() == [("1", False), ("2", True)]  # that it was fine-tuned from
    revert("lesions", "1")
    api.remove_model("lesions", "2")
    assert versions() == [("1", True)]
    with pytest.raises(BadInput, match="has no version 2; use one of 1"):
        api.remove_model("lesions", "2")


def test_the_first_version_can_go_while_a_later_one_stays(teach: Callable[..., Path]) -> None:
    teach()
    revert("lesions", "1")
    api.remove_model("lesions", "1")
    assert versions() == [("2", True)]
    assert load_model("lesions").card.version == "2"
    api.remove_model("lesions", "2")
    assert "lesions" not in api.list_models()


def test_what_came_with_the_package_stays(home: Path) -> None:
    with pytest.raises(BadInput, match="came with the package, and stays"):
        api.remove_model("breast-ultrasound", "2")


@pytest.mark.parametrize("with_base", [True, False], ids=["in the card", "in the comparison of an older one"])
def test_the_history_has_both_figures_on_the_same_cases(teach: Callable[..., Path], with_base: bool) -> None:
    teach(with_base=with_base)
    first, second = list_versions("lesions")
    assert second.dice == "Dice 0.81, base 0.78, on the same 2 cases"
    assert first.dice.startswith("Dice 0.81 on ")
    expected = second.dice if with_base else "Dice 0.81 on 2 cases"
    assert dice_text(load_model("lesions").card) == expected
    assert ("its base on the same: Dice 0.780" in card_text(load_model("lesions").card)) == with_base


def test_a_change_that_two_digits_hide_has_three(teach: Callable[..., Path]) -> None:
    card = load_model("lesions").card
    teach()
    card = load_model("lesions").card
    (metric,) = card.metrics
    close = metric.model_copy(update={"values": {"dsc": 0.8111}, "base_values": {"dsc": 0.8069}, "images": 1})
    text = dice_text(card.replace(metrics=(close,)))
    assert text == "Dice 0.811, base 0.807, on the same case"

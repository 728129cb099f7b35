"""Labels of several data sets as the classes of one model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.labels import argmax_classes, labels_from_probabilities
from napari_latentseg.data.label_map import LabelMap, LateralizedLabel
from napari_latentseg.data.label_names import read_label_file
from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.datasets import class_infos, find_datasets

CLASSES = tuple(
    ClassInfo(label=k, name=name, color="#ff0000", includes=includes)
    for k, (name, includes) in enumerate(
        {"liver": ("vessel", "tumour"), "vessel": ("vessel tumour",), "tumour": (), "vessel tumour": (),
         "right kidney": (), "left kidney": ()}.items(),
        start=1,
    )
)  # fmt: skip
KIDNEYS = LateralizedLabel(split=("right kidney", "left kidney"))


def lps(direction: int = 1) -> Geometry:
    """zyx, x towards the patient's left (1) or right (-1)."""
    return Geometry.from_matrix(np.diag([1.0, 1.0, direction, 1.0]), ("mm",) * 3, tuple("zyx"), "LPS")


def test_a_label_becomes_its_class_and_the_rest_is_background() -> None:
    found = LabelMap(CLASSES, {1: "tumour", 7: "liver"}).to_class_numbers(
        np.array([[0, 1, 7, 3]], dtype=np.uint8)
    )
    assert found.tolist() == [[0, 3, 1, 0]]


def test_an_organ_is_the_union_with_all_that_lies_in_it() -> None:
    """Also of what lies in what lies in it."""
    masks = LabelMap(CLASSES, {}).class_masks(np.array([0, 1, 2, 3, 4, 5], dtype=np.uint8))
    assert masks[0].tolist() == [0, 1, 1, 1, 1, 0]
    assert masks[1].tolist() == [0, 0, 1, 0, 1, 0]
    assert masks[2].tolist() == [0, 0, 0, 1, 0, 0]
    assert masks.dtype == np.uint8


def test_only_what_a_data_set_names_was_looked_for() -> None:
    assert LabelMap(CLASSES, {1: "liver", 2: KIDNEYS}).annotated == (True, False, False, False, True, True)
    assert LabelMap(CLASSES[:1]).annotated == (True,)
    assert all(LabelMap.for_model(CLASSES).annotated)


def test_in_a_label_image_the_part_wins_over_the_whole() -> None:
    mean = np.zeros((6, 4), dtype=np.float32)
    mean[0] = 0.9
    mean[2, 0] = 0.6  # a tumour in the liver, less sure than the liver
    mean[3, 1] = 0.55  # two levels down
    mean[4, 2] = 0.95  # no part of it: the most probable wins
    assert labels_from_probabilities(mean, 0.5, CLASSES).tolist() == [3, 4, 5, 1]
    assert labels_from_probabilities(mean, 0.58, CLASSES).tolist() == [3, 1, 5, 1]
    assert argmax_classes(mean, 0.99, [frozenset()] * 6).tolist() == [-1] * 4


@pytest.mark.parametrize("direction", [1, -1])
def test_sides_are_split_by_where_the_patient_s_left_is(direction: int) -> None:
    labels = np.zeros((3, 8, 20), dtype=np.uint8)
    labels[:, 2:6, 1:5] = 2
    labels[:, 2:6, 12:18] = 2
    labels[1, 7, 6] = 2  # a crumb, nearer to the first
    found = LabelMap(CLASSES, {2: KIDNEYS}).to_class_numbers(labels, lps(direction))
    first, second = (5, 6) if direction == 1 else (6, 5)
    assert set(np.unique(found[:, :, :7])) == {0, first}
    assert set(np.unique(found[:, :, 11:])) == {0, second}
    assert np.array_equal(found > 0, labels > 0)


def test_a_single_kidney_is_on_the_side_where_it_lies() -> None:
    labels = np.zeros((3, 8, 20), dtype=np.uint8)
    labels[:, 2:6, 12:18] = 2
    split = LabelMap(CLASSES, {2: KIDNEYS})
    assert set(np.unique(split.to_class_numbers(labels, lps()))) == {0, 6}
    assert set(np.unique(split.to_class_numbers(labels, lps(-1)))) == {0, 5}


def test_sides_need_a_scan_that_says_which_is_which() -> None:
    labels = np.full((2, 4, 4), 2, dtype=np.uint8)
    with pytest.raises(BadInput, match="kits: its scans do not say which side is left"):
        LabelMap(CLASSES, {2: KIDNEYS}, "kits").to_class_numbers(labels, Geometry.from_spacing("zyx"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({1: "lver"}, r"kits, label 1: no class 'lver'; use one of liver, vessel"),
        ({1: KIDNEYS, 2: "left kidney"}, r"kits, label 2: is 'left kidney', and so is label 1"),
        ({0: "liver"}, r"kits, label 0: is not a label"),
    ],
)
def test_what_cannot_be_meant_is_refused(labels: dict[int, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        LabelMap(CLASSES, labels, "kits")


def folder(path: Path) -> Path:
    for part in ("images", "masks"):
        (path / part).mkdir(parents=True)
        (path / part / "a.png").write_bytes(b"")
    return path


def test_each_folder_needs_a_map_and_a_name_of_its_own(tmp_path: Path) -> None:
    config = TrainingConfig.model_validate(
        {
            "method": "guided",
            "settings": {"classes": 1},
            "classes": [{"name": "liver", "color": "#ff0000"}],
            "datasets": {"one": {"labels": {"3": "liver"}}},
        }
    )
    one, two, again = folder(tmp_path / "one"), folder(tmp_path / "two"), folder(tmp_path / "other" / "one")
    (found,) = find_datasets([one], config)
    assert found.label_map.labels == {3: "liver"}
    with pytest.raises(BadInput, match="two: has no map of its labels; add it to datasets, beside one"):
        find_datasets([one, two], config)
    with pytest.raises(BadInput, match="is a second data set 'one'"):
        find_datasets([one, again], config)
    with pytest.raises(BadInput, match="one: is given twice; give each folder once"):
        find_datasets([one, one.parent / "two" / ".." / "one"], config)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], "classes, a: is there twice"),
        ([{"name": "a", "includes": ["b"]}], "classes, a: includes 'b', which is not another class"),
    ],
)
def test_classes_that_contradict_each_other_are_refused(classes: list[dict[str, str]], message: str) -> None:
    fields = {"settings": {"classes": len(classes)}, "classes": [{"color": "#ff0000"} | c for c in classes]}
    with pytest.raises(BadInput, match=message):
        class_infos(TrainingConfig.model_validate(fields))


def test_the_abdomen_has_the_paper_s_counts() -> None:
    """29 structures, and for each data set of Table 1 the number that the paper gives."""
    config = load_config("guided-abdomen")
    classes = class_infos(config)
    assert len(classes) == config.settings["classes"] == 29
    assert sum("tumour" in c.name for c in classes) == 6
    counts = {n: sum(LabelMap(classes, d.labels, n).annotated) for n, d in config.datasets.items()}
    msd = [n for n in counts if n.startswith("msd_")]
    assert sum(counts.pop(n) for n in msd) == 9
    # two where the paper merges the adrenal glands or counts a label of both sides once
    assert counts == {
        "btcv": 13,
        "kits23": 4,
        "tcia_pancreas": 1,
        "abdomenct_1k": 5,
        "amos_ct": 15,
        "word": 17,
    }


def test_label_names_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text("[" * 100_000)
    with pytest.raises(BadInput, match="it is not valid JSON"):
        read_label_file(path)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, MetricRecord, ModelCard, read_card
from napari_latentseg.models.card_text import card_lines, card_text
from napari_latentseg.models.store import list_cards, locate_model
from napari_latentseg.models.training_log import read_training_log


def edit(folder: Path, *path: str | int, value: object) -> None:
    """Set one field of a card's file."""
    card = json.loads((folder / CARD).read_text("utf-8"))
    place = card
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    (folder / CARD).write_text(json.dumps(card), "utf-8")


@pytest.mark.parametrize("title", ["Lesions", "Läsionen – «µm»"])
def test_round_trip(lesions: Path, tmp_path: Path, title: str) -> None:
    card = read_card(lesions).model_copy(update={"title": title, "limits": "not tried on others"})
    card.write(tmp_path / CARD)
    assert read_card(tmp_path) == card
    assert title in (tmp_path / CARD).read_text("utf-8")


def test_the_keys_on_disk_are_those_of_earlier_versions(lesions: Path, tmp_path: Path) -> None:
    """Two fields have clearer names than their keys, which cards that were published have."""
    written = json.loads((lesions / CARD).read_text("utf-8"))
    card = read_card(lesions)
    assert card.deviations_from_paper == written["variant"] != ""
    assert card.training_data[0].validation_images == written["training_data"][0]["kept_apart"] == 2
    card.replace(deviations_from_paper="width 16").write(tmp_path / CARD)
    changed = json.loads((tmp_path / CARD).read_text("utf-8"))
    assert changed == written | {"variant": "width 16"}


def test_a_figure_that_is_no_number_comes_back_as_it_was(lesions: Path, tmp_path: Path) -> None:
    """HD95 is infinite, or not a number, where nothing was found."""
    card = read_card(lesions)
    values = {"dsc": 0.0, "iou": 0.0, "hd95": float("inf")}
    metric = card.metrics[0].model_copy(update={"values": values})
    card.model_copy(update={"metrics": (metric,)}).write(tmp_path / CARD)
    assert read_card(tmp_path).metrics[0].values == values


# Where a card is broken, by what, and what the message must name.
FIELDS: dict[str, tuple[tuple[str | int, ...], object, str]] = {
    "a name with a slash": (("name",), "../lesions", r"card\.json, name: "),
    "no method": (("method",), None, r"card\.json, method: "),
    "an unknown field": (("colour",), "red", r"card\.json, colour: "),
    "a codec of no kind": (("codec", "kind"), "gan", r"card\.json, codec\.kind: "),
    "no classes": (("classes",), [], r"card\.json, classes: "),
    "a class 0": (("classes", 0, "label"), 0, r"card\.json, classes\.0\.label: "),
    "a colour by its name": (("classes", 0, "color"), "red", r"card\.json, classes\.0\.color: "),
    "an unknown source": (("sources",), ["luck"], r"card\.json, sources\.0: "),
    "a threshold of 1": (("threshold",), 1, r"card\.json, threshold: "),
    "a size of 33": (("preprocess", "size"), 33, r"card\.json, preprocess\.size: "),
    "tiles without a side": (("preprocess", "mode"), "tiles", r"card\.json, preprocess: .*long_side"),
    "a later format": (("format",), 2, r"card\.json, format: "),
    "a probability of 2": (("augment", "jitter"), 2, r"card\.json, augment\.jitter: "),
    "two classes with a label": (
        ("classes",),
        [{"label": 1, "name": name, "color": "#000000"} for name in "ab"],
        r"card\.json, classes: .*same label",
    ),
    "two classes with a name": (
        ("classes",),
        [{"label": label, "name": "a", "color": "#000000"} for label in (1, 2)],
        r"card\.json, classes: .*same name",
    ),
}


@pytest.mark.parametrize(("path", "value", "message"), FIELDS.values(), ids=FIELDS.keys())
def test_a_broken_field_is_named(
    lesions: Path, path: tuple[str | int, ...], value: object, message: str
) -> None:
    edit(lesions, *path, value=value)
    with pytest.raises(BadInput, match=message) as found:
        read_card(lesions)
    assert found.value.remedy


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: p.unlink(), r"lesions: holds no card\.json"),
    "empty": (lambda p: p.write_text(""), r"card\.json, the file: "),
    "cut off": (lambda p: p.write_text(p.read_text("utf-8")[:-20], "utf-8"), r"card\.json, the file: "),
    "not UTF-8": (lambda p: p.write_bytes(b'{"name": "\xff"}'), r"card\.json: cannot be read"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), r"card\.json: cannot be read"),
}


@pytest.mark.parametrize(("fault", "message"), FILES.values(), ids=FILES.keys())
def test_a_broken_file_is_named(lesions: Path, fault: Callable[[Path], object], message: str) -> None:
    fault(lesions / CARD)
    with pytest.raises(BadInput, match=message) as found:
        read_card(lesions)
    assert found.value.remedy


def test_a_card_does_not_change(lesions: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_card(lesions).threshold = 0.4


@pytest.mark.parametrize(
    ("deviations", "expected"),
    [("", "GMS"), ("trained conditioner", "GMS variant (trained conditioner)")],
)
def test_a_variant_is_not_called_by_the_name_of_the_paper_alone(
    lesions: Path, deviations: str, expected: str
) -> None:
    assert read_card(lesions).replace(deviations_from_paper=deviations).method_title == expected


# --- in plain words ------------------------------------------------------------------------------------


def test_the_text_says_what_matters(lesions: Path) -> None:
    card = read_card(lesions)
    text = card_text(card)
    for part in (
        "Lesions, version 1",
        "US",
        "lesion",
        "Research. Not a medical device.",
        "GMS variant (width 16, compact codec in place of SD-VAE)",
        "lab-codec, 8 latent channels",
        "drawn: 8 images, 2 for validation (20%); CC0",
        "Dice 0.812, IoU 0.750, HD95 3.2 pixel (one pass) on the 2 kept apart",
        "counts as right",
        "augment: flips, rotations and shifts of the image, undone in the prediction; none: one prediction",
        card.files["weights.safetensors"],
    ):
        assert part in text
    assert text.startswith("Model:")
    assert len(text.splitlines()) == len(card_lines(card)) + 2  # name, and title with version


def test_figures_of_other_kinds_are_given_too(lesions: Path) -> None:
    metric = MetricRecord(
        data="some", images=3, samples=8, source="augment", values={"dsc": 0.5, "nsd": 0.25}
    )
    card = read_card(lesions).model_copy(update={"metrics": (metric,)})
    assert "Dice 0.500, nsd 0.250 (mean of 8 samples from augment) on some" in card_text(card)


def test_several_classes_are_named(lesions: Path) -> None:
    classes = tuple(ClassInfo(label=i + 1, name=name, color="#000000") for i, name in enumerate("ab"))
    card = ModelCard.model_validate(read_card(lesions).model_dump() | {"classes": classes})
    assert ("Classes", "a, b") in card_lines(card)


def test_the_figures_of_each_class_are_in_the_card_and_its_text(lesions: Path) -> None:
    card = read_card(lesions)
    classes = {"liver": {"dsc": 0.9312, "images": 8}, "gallbladder": {"dsc": 0.7, "images": 1}}
    card = card.replace(metrics=(card.metrics[0].replace(classes=classes), *card.metrics[1:]))
    assert "liver Dice 0.931 (8 images); gallbladder Dice 0.700 (1 image)" in card_text(card)
    assert ModelCard.model_validate_json(card.model_dump_json()).metrics[0].classes == classes
    earlier = card.model_dump(mode="json")
    del earlier["metrics"][0]["classes"]  # as earlier versions wrote it
    assert ModelCard.model_validate(earlier).metrics[0].classes == {}


def test_figures_are_told_with_their_number_of_images_intervals_and_missed_objects() -> None:
    card = list_cards()["breast-ultrasound"]
    metric = MetricRecord(
        data="a set", images=62, samples=5, source="augment",
        values={"dsc": 0.8184, "hd95": 12.34}, intervals={"dsc": (0.77, 0.861), "hd95": (9.0, 16.0)},
        missed=3,
    )  # fmt: skip
    lines = dict(card_lines(card.replace(metrics=(metric,))))
    assert lines["Measured"] == (
        "Dice 0.818 (0.770 to 0.861), HD95 12.3 pixel (9.0 to 16.0) (mean of 5 samples from augment) on a"
        " set, 62 images; 3 missed (Dice < 0.1); in parentheses 95 % intervals over images"
    )
    plain = dict(
        card_lines(card.replace(metrics=(metric.replace(intervals={}, missed=None, data="62 of it"),)))
    )
    assert plain["Measured"] == "Dice 0.818, HD95 12.3 pixel (mean of 5 samples from augment) on 62 of it"


def test_the_course_of_the_training_is_told() -> None:
    model = locate_model("retina-vessels")
    log = read_training_log(model.folder)
    assert log is not None
    assert dict(card_lines(model.card, log))["Training"] == log.describe()
    assert "Training" not in dict(card_lines(model.card))

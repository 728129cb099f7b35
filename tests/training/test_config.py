"""Training configurations, those of the package and broken ones."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import TrainingConfig, with_changes
from napari_latentseg.training.config_files import load_config, named_configs
from napari_latentseg.training.schedule import learning_rate_factor, warmup_epoch_count


@pytest.mark.parametrize("name", list(named_configs()))
def test_every_packaged_configuration_is_valid(name: str) -> None:
    from napari_latentseg.methods.registry import method_class

    config = load_config(name)
    assert config.name == name
    method = method_class(config.method)
    method.config_class.model_validate(config.settings)
    if method.needs_codec:
        assert config.codec == "embedded" or config.codec.count("/") == 1
    else:
        assert config.codec is None
    again = TrainingConfig.model_validate_json(config.model_dump_json())
    assert again == config


def test_the_packaged_ones_are_there() -> None:
    assert {"gms-busi", "gms-small", "breast-ultrasound", "retina-vessels"} <= set(named_configs())


def test_gms_busi_is_the_paper() -> None:
    """Section 4 of the paper; its code where the paper is silent."""
    from napari_latentseg.methods.gms import GMSConfig

    config = load_config("gms-busi")
    assert (config.preprocess.mode, config.preprocess.size) == ("whole", 224)
    assert (config.batch_size, config.epochs, config.learning_rate) == (8, 1000, 2e-3)
    assert (config.weight_decay, config.warmup_epochs, config.schedule_by) == (0.01, 5, "epoch")
    assert (config.ema_decay, config.clip_gradient, config.precision) == (0, 0, "float32")
    assert config.seed == 2333
    assert config.select == "best"
    assert not config.cache_latents
    assert config.settings == {}
    settings = GMSConfig.model_validate(config.settings)
    assert settings.conditioner == "frozen"
    assert settings.width == 32
    assert settings.levels == ("level2", "level1", "out")
    assert (settings.latent_weight, settings.dice_weight, settings.cross_entropy_weight) == (1, 1, 0)
    ranges = config.augment
    assert (ranges.horizontal_flip, ranges.vertical_flip, ranges.quarter_turn) == (0.5, 0.5, 0.5)
    assert ranges.jitter == 0.2
    assert (ranges.brightness, ranges.contrast, ranges.saturation, ranges.hue) == (0.1, 0.1, 0.1, 0.1)
    assert (ranges.affine, ranges.shift, ranges.scale, ranges.rotate) == (0.4, 0.15, 0.1, 20)
    assert ranges.gamma == 0


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (1, 0), (2, 5e-4), (3, 1e-3), (4, 1.5e-3), (5, 2e-3), (6, 2e-3),
        (100, 1.96e-3), (500, 1.01e-3),
    ],
)  # fmt: skip
def test_gms_busi_has_the_rates_of_the_papers_code(epoch: int, rate: float) -> None:
    config = load_config("gms-busi")
    assert config.learning_rate * learning_rate_factor(config, epoch - 1) == pytest.approx(rate, abs=5e-6)


def test_the_last_epoch_of_a_cosine_by_epochs_still_learns_as_in_the_papers_code() -> None:
    config = load_config("gms-busi")
    assert config.learning_rate * learning_rate_factor(config, 999) == pytest.approx(5e-9, rel=0.02)
    short = config.replace(epochs=3, warmup_epochs=0)
    assert [learning_rate_factor(short, e) for e in range(3)] == pytest.approx([1, 0.75, 0.25])


def test_the_schedule_by_steps_is_smooth_from_nothing_to_nothing() -> None:
    config = TrainingConfig(epochs=20, warmup_epochs=3, schedule_by="step")
    found = [learning_rate_factor(config, step / 50) for step in range(20 * 50 + 1)]
    assert found[0] == 0
    assert found[150] == 1
    assert found[-1] == pytest.approx(0, abs=1e-12)
    assert max(abs(b - a) for a, b in pairwise(found)) < 0.01
    assert all(0 <= f <= 1 for f in found)


@pytest.mark.parametrize("by", ["epoch", "step"])
@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (1, 5), (2, 1), (5, 5), (3, 0.5)])
def test_short_trainings_have_rates_too(by: str, epochs: int, warmup: float) -> None:
    config = TrainingConfig(epochs=epochs, warmup_epochs=warmup, schedule_by=by)
    assert all(0 <= learning_rate_factor(config, e) <= 1 for e in range(epochs))


@pytest.mark.parametrize(("accumulate", "at"), [(1, 2.5), (2, 5.0)])
def test_a_warm_up_in_steps_ends_after_so_many_steps(accumulate: int, at: float) -> None:
    """With 4 batches an epoch, 10 steps of the optimizer take 10 batches, or 20."""
    config = TrainingConfig(
        warmup_steps=10, warmup_epochs=99, accumulate=accumulate, schedule_by="step", schedule="constant"
    )
    warmup = warmup_epoch_count(config, 4)
    assert warmup == at
    found = [learning_rate_factor(config, at * part, None, warmup) for part in (0, 0.5, 0.9, 1, 7)]
    assert found == pytest.approx([0, 0.5, 0.9, 1, 1])


def test_a_warm_up_in_epochs_is_as_it_was_and_a_stage_may_have_its_own() -> None:
    assert warmup_epoch_count(TrainingConfig(warmup_epochs=3), 4) == 3
    config = TrainingConfig(warmup_steps=10, schedule_by="step", stages={"one": {"warmup_epochs": 2}})
    assert warmup_epoch_count(config.for_stage("one"), 4) == 2
    assert warmup_epoch_count(config.for_stage("other"), 4) == 2.5
    half = TrainingConfig(epochs=20, warmup_steps=40, schedule_by="step")
    assert learning_rate_factor(half, 15, 20, warmup_epoch_count(half, 4)) == pytest.approx(0.5)


BROKEN = {
    "warmup_steps": (10, "configuration: warmup_steps needs schedule_by 'step'"),
    "epochs": (0, "epochs: must be 1 or more"),
    "batch_size": ("eight", "batch_size: must be a whole number"),
    "learning_rate": (-1, "learning_rate: must be more than 0"),
    "seed": (-1, "seed: must be 0 or more"),
    "ema_decay": (1, "ema_decay: must be less than 1"),
    "schedule_by": ("day", "schedule_by: must be 'epoch' or 'step'"),
    "precision": ("int8", "precision: must be 'float32', 'bfloat16' or 'auto'"),
    "speed": (3, "speed: is not known"),
    "preprocess": ({"mode": "tiles", "size": 64}, "preprocess: tiles need a long_side"),
    "preprocess ": ({"neighbours": 1}, "configuration: augment: hue and saturation must be 0 where"),
    "preprocess  ": ({"neighbours": -1}, "preprocess.neighbours: must be more than 0"),
    "augment": ({"rotate": 200}, "augment.rotate: must be 180 or less"),
    "card": ({"color": "red"}, "card.color: must be a colour such as #ffb000"),
    "clip_gradient": (float("inf"), "clip_gradient: must be a number"),
    "split": (
        {"group_pattern": "Image_"},
        "split.group_pattern: needs parentheses around the part of the name that is the patient",
    ),
    "cache_latents": (True, "configuration: cache_latents needs images that repeat"),
}


@pytest.mark.parametrize("field", BROKEN)
def test_a_wrong_value_is_named_in_plain_words(field: str) -> None:
    value, message = BROKEN[field]
    with pytest.raises(BadInput) as caught:
        with_changes(TrainingConfig(), {field.strip(): value})
    assert str(caught.value).startswith(message)


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="is not a regular expression"):
        with_changes(TrainingConfig(), {"split": {"group_pattern": "(Image"}})


def test_a_split_goes_by_patient_or_by_block() -> None:
    with pytest.raises(BadInput, match=r"^split: block and group_pattern exclude"):
        with_changes(TrainingConfig(), {"split": {"group_pattern": "(a)", "block": 5}})


def test_changes_are_validated_and_leave_the_rest() -> None:
    config = load_config("gms-small")
    other = with_changes(config, {"epochs": 3})
    assert other.epochs == 3
    assert with_changes(other, {"epochs": config.epochs}) == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "mine.json, the whole file: is not valid JSON"),
        ("[]", "mine.json, the whole file: must be a set of names and values"),
        ('{"epochs": 0}', "mine.json, epochs: must be 1 or more"),
        ('{"augment": {"flip": 1}}', "mine.json, augment.flip: is not known"),
        ('{"preprocess": {"size": 225}}', "mine.json, preprocess.size: must be a multiple of 8"),
        ("", "mine.json, the whole file: is not valid JSON: it is empty"),
        ('{"epochs": 3,\n "seed": 1,\n}', "mine.json, the whole file: is not valid JSON: "),
        (
            '{"epochs": 1, "epochs": 2}',
            "mine.json, the whole file: is not valid JSON: 'epochs' is there twice",
        ),
        ('{"epochs": "3"}', "mine.json, epochs: must be a whole number"),
        ('{"seed": true}', "mine.json, seed: must be a whole number"),
        ('{"learning_rate": 1e999}', "mine.json, learning_rate: must be a number"),
        ('{"weight_decay": Infinity}', "mine.json, weight_decay: must be a number"),
        ('{"preprocess": {"window": [1, 2, 3]}}', "mine.json, preprocess.window: must hold 2 or fewer"),
        ('{"extends": 3}', "mine.json, extends: must be the name of a configuration"),
        (
            '{"extends": "gms-smal"}',
            "mine.json, extends: no configuration 'gms-smal'; did you mean 'gms-small'?",
        ),
    ],
)
def test_a_broken_file_is_named_with_its_field(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content, "utf-8")
    with pytest.raises(BadInput) as caught:
        load_config(path)
    assert str(caught.value).startswith(message)


MISSPELT = {
    '{"epocs": 3}': "epocs: is not known; did you mean 'epochs'?",
    '{"augment": {"flip": 1}}': "augment.flip: is not known; use one of horizontal_flip, vertical",
    '{"preprocess": {"sise": 64}}': "preprocess.sise: is not known; did you mean 'size'?",
    '{"split": {"fractoin": 0.2}}': "split.fractoin: is not known; did you mean 'fraction'?",
    '{"card": {"titel": "Lesions"}}': "card.titel: is not known; did you mean 'title'?",
    '{"draw": {"plane": 4}}': "draw.plane: is not known; did you mean 'planes'?",
    '{"member_training": {"epoch": 4}}': "member_training.epoch: is not known; did you mean 'epochs'?",
    '{"stages": {"a": {"batchsize": 4}}}': "stages.a.batchsize: is not known; did you mean 'batch_size'?",
    '{"classes": [{"name": "a", "colour": "x"}]}': "classes.0.colour: is not known; did you mean 'color'?",
    '{"datasets": {"a": {"label": {}}}}': "datasets.a.label: is not known; did you mean 'labels'?",
    '{"datasets": {"a": {"labels": {"1": {"spilt": ["right", "left"]}}}}}':
        "datasets.a.labels.1.spilt: is not known; did you mean 'split'?",
}  # fmt: skip


@pytest.mark.parametrize("content", MISSPELT)
def test_of_a_misspelt_field_at_any_depth_the_known_names_are_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content, "utf-8")
    with pytest.raises(BadInput) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"mine.json, {MISSPELT[content]}")


def test_the_mark_that_editors_of_windows_write_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"epochs": 7}), "utf-8-sig")
    assert load_config(path).epochs == 7


def test_a_file_of_ones_own_is_read_and_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"epochs": 7}), "utf-8")
    assert load_config(path) == TrainingConfig(name="mine", epochs=7)


@pytest.mark.parametrize("name", ["no-such", "x" * 5000, "codec-compact-1", ""])
def test_an_unknown_configuration_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        load_config(name)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(BadInput, match=r"mine\.json: cannot be read"):
        load_config(path)

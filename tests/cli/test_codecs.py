"""`codecs`, and a model from training to use whose codec was given as a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.helpers.autoencoders import write_sd_vae, write_taesd, write_tiny

from napari_latentseg.cli.app import app
from napari_latentseg.codecs.store import find_codec, list_codecs
from napari_latentseg.models.card import read_card

CONFIG = {
    "settings": {"width": 16, "levels": ["out"]},
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "epochs": 2,
    "batch_size": 4,
    "warmup_epochs": 0,
    "schedule_by": "step",
}
KEYS = ["sha256", "name", "kind", "channels", "scale", "revision", "storage", "source", "size_bytes", "path",
        "present", "models"]  # fmt: skip


@pytest.fixture(scope="module")
def data(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipses(tmp_path_factory.mktemp("ellipses") / "data")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_codecs_are_added_listed_and_removed(
    cli: Callable[..., Any], refused: Callable[..., str], home: Path, tmp_path: Path
) -> None:
    folder = write_tiny(tmp_path / "taesd")
    assert cli("codecs").out == "no codec is kept; `codecs add` keeps one\n"
    added = cli("codecs", "add", folder)
    assert (added.code, added.errors) == (0, [])
    (kept,) = list_codecs()
    assert added.out.splitlines() == [kept.describe(), f"SHA-256 {kept.sha256[:12]}, needed by no model here"]
    headings, listed = cli("codecs", "list").out.splitlines()
    assert headings.split() == ["NAME", "SHA-256", "KIND", "SIZE", "KEPT", "AS", "NEEDED", "BY"]
    row = listed.split()
    assert row[:3] == ["taesd", kept.sha256[:12], "tiny"]
    assert row[-2:] == ["copy", "-"]
    assert "no codec 'lost' is kept" in refused("codecs", "remove", "lost")
    assert cli("codecs", "remove", kept.sha256[:8]).out == "codec taesd: removed\n"
    assert list_codecs() == []


def test_all_of_it_as_json(cli: Callable[..., Any], home: Path, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "taesd")
    added = json.loads(cli("codecs", "add", folder, "--name", "mine", "--pointer", "--json").out)
    assert list(added) == KEYS
    assert (added["name"], added["storage"], added["path"]) == ("mine", "pointer", str(folder))
    for command in (("codecs",), ("codecs", "list")):
        assert json.loads(cli(*command, "--json").out) == [added]
    shutil.rmtree(folder)
    assert json.loads(cli("codecs", "list", "--json").out)[0]["present"] is False
    assert "pointer, missing" in cli("codecs", "list").out
    assert list(json.loads(cli("codecs", "remove", "mine", "--json").out)) == KEYS


@pytest.mark.parametrize("what", ["nowhere", "a folder without one", "a text file"])
def test_what_is_no_codec_is_one_line(
    refused: Callable[..., str], home: Path, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "given"
    if what == "a folder without one":
        path.mkdir()
    elif what == "a text file":
        path.write_text("not a codec")
    assert str(path) in refused("codecs", "add", path)
    assert list_codecs() == []


def test_every_command_that_computes_with_a_model_takes_its_codec() -> None:
    commands: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    by_name = dict(commands) | {f"models {n}": c for n, c in commands["models"].commands.items()}
    with_codec = {name for name, c in by_name.items() if any("--codec" in p.opts for p in c.params)}
    assert with_codec == {
        "segment", "fill", "batch", "evaluate", "calibrate", "finetune", "train", "info", "add-replay",
        "replay", "models compile", "models install",
    }  # fmt: skip


def walk(cli: Callable[..., Any], out: Path, data: Path, elsewhere: Path, *training: object) -> None:
    """Train with a codec that is a folder, then use the model by name where that folder is not."""
    codec = out.parent / "vaes" / "given"
    trained = cli("train", "--data", data, "--out", out, "--codec", codec, "--device", "cpu", *training)
    assert (trained.code, trained.errors) == (0, []), trained
    card = read_card(out)
    assert f"codec given is kept in {find_codec(card.codec.sha256)}" in trained.out
    assert cli("models", "install", out).code == 0
    shutil.rmtree(codec)
    name, image = out.name, next((data / "images").iterdir())
    common = ("--device", "cpu")
    scored = cli("evaluate", "--model", name, "--data", data, "--sampling", "none", *common)
    assert (scored.code, scored.errors) == (0, [])
    by_folder = cli("evaluate", "--model", out, "--data", data, "--sampling", "none", *common)
    assert by_folder.out == scored.out
    fitted = cli(
        "calibrate", name, "--data", data, "--samples", 3, "--out", elsewhere / "calibrated", *common
    )
    assert (fitted.code, fitted.errors) == (0, [])
    segmented = cli("segment", image, "-m", name, "-n", 1, "-o", elsewhere / "result", *common)
    assert (segmented.code, segmented.errors) == (0, [])
    problems = json.loads(cli("doctor", "--json").out)["problems"]
    assert not [problem for problem in problems if name in problem["what"]]
    (row,) = json.loads(cli("codecs", "list", "--json").out)
    assert (row["models"], row["sha256"]) == ([name], card.codec.sha256)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_model_on_a_codec_folder_is_used_from_another_folder(
    cli: Callable[..., Any], home: Path, data: Path, tmp_path: Path, elsewhere: Path
) -> None:
    write_tiny(tmp_path / "vaes" / "given")
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(CONFIG))
    walk(cli, tmp_path / "ellipses", data, elsewhere, "--config", config)
    batch = cli(
        "batch", data / "images", "-m", "ellipses", "-n", 1, "-o", elsewhere / "batch", "--device", "cpu"
    )
    assert (batch.code, batch.errors) == (0, [])


def test_a_batch_without_the_codec_is_refused_at_once(
    cli: Callable[..., Any], refused: Callable[..., str], home: Path, data: Path, tmp_path: Path
) -> None:
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(CONFIG))
    codec = write_tiny(tmp_path / "taesd")
    assert (
        cli("train", "--data", data, "--out", tmp_path / "e", "--codec", codec, "--config", config).code == 0
    )
    assert cli("codecs", "remove", "taesd").code == 0
    batch = ("batch", data / "images", "-m", tmp_path / "e", "-n", 1, "-o", tmp_path / "batch")
    assert "codec: taesd is not on this machine" in refused(*batch)
    assert cli(*batch, "--codec", codec).code == 0
    assert cli("evaluate", "-m", tmp_path / "e", "--data", data, "-n", 1, "--codec", codec).code == 0
    other = write_tiny(tmp_path / "other", 4)
    message = refused("evaluate", "-m", tmp_path / "e", "--data", data, "--codec", other)
    assert message.startswith(f"{other}: has other weights (SHA-256 ")


def test_a_training_goes_on_where_its_codec_cannot_be_kept(
    cli: Callable[..., Any], home: Path, data: Path, tmp_path: Path
) -> None:
    home.mkdir()
    (home / "codecs").write_text("in the way")
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(CONFIG))
    codec = write_tiny(tmp_path / "taesd")
    ended = cli("train", "--data", data, "--out", tmp_path / "e", "--codec", codec, "--config", config)
    assert ended.code == 0
    assert "the model will need --codec, since its codec is not kept" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "method", "config"),
    [(write_taesd, "wave-gms", "wave-gms-busi"), (write_sd_vae, "gms", "gms-busi")],
    ids=["TAESD", "SD-VAE"],
)
def test_published_autoencoders_in_full_size(
    cli: Callable[..., Any],
    home: Path,
    write_ellipses: Callable[..., Path],
    tmp_path: Path,
    elsewhere: Path,
    write: Callable[[Path], Path],
    method: str,
    config: str,
) -> None:
    """Two steps at batch 1, since a step of SD-VAE takes 4.6 GB at batch 1."""
    write(tmp_path / "vaes" / "given")
    changes = {
        "extends": config,
        "split": {"fraction": 0.3},
        "steps": 2,
        "warmup_epochs": 0,
        "schedule_by": "step",
        "batch_size": 1,
    }
    path = tmp_path / "two-steps.json"
    path.write_text(json.dumps(changes))
    data = write_ellipses(tmp_path / "data", count=3)
    walk(cli, tmp_path / "full-size", data, elsewhere, "--method", method, "--config", path)

"""Models into the store, and out of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_latentseg import api
from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import read_card
from napari_latentseg.models.gms_checkpoint import KEY_MAP
from napari_latentseg.models.install import install_folder, remove_model
from napari_latentseg.models.store import load_model, model_folders

KL = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}


@pytest.fixture
def source(home: Path, lesions: Path, tmp_path: Path) -> Path:
    """A model folder that is not in the store, with something beside what the card names."""
    folder = Path(shutil.copytree(lesions, tmp_path / "given"))
    (folder / "notes.txt").write_text("mine")
    shutil.rmtree(lesions)
    return folder


@pytest.fixture
def sd_vae(home: Path) -> Path:
    import diffusers

    torch.manual_seed(3)
    folder = home / "codecs" / "small-vae"
    diffusers.AutoencoderKL(**KL).save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(home: Path, sd_vae: Path, tmp_path: Path) -> Path:
    """The weights of a mapper under the published names."""
    torch.manual_seed(6)
    mapper = build_method("gms", load_codec(sd_vae), {}).trainable_modules["mapper"]
    ours = mapper.state_dict()
    path = tmp_path / "best_valid_dice.pth"
    torch.save({"model": {theirs: ours[name] for theirs, name in KEY_MAP.items()}}, path)
    return path


def test_a_folder_is_copied_and_can_be_called(source: Path, home: Path) -> None:
    place = install_folder(source)
    assert place == home / "models" / "lesions"
    assert {p.name for p in place.iterdir()} == {p.name for p in source.iterdir()} - {"notes.txt"}
    assert load_model("lesions").card == read_card(source)
    assert install_folder(source, "other").name == "other"
    assert load_model("other").card.name == "other"


def test_a_name_that_is_taken_is_refused_unless_it_may_be_replaced(source: Path) -> None:
    place = install_folder(source)
    with pytest.raises(BadInput, match="a model 'lesions' exists already; give another with --name, or add"):
        install_folder(source)
    (place / "card.json").write_text("broken")
    install_folder(source, replace=True)
    assert load_model("lesions").card == read_card(source)
    assert [p.name for p in place.parent.iterdir()] == ["lesions"]
    install_folder(place, replace=True)  # onto itself
    assert load_model("lesions").card == read_card(source)


@pytest.mark.parametrize("name", ["../x", "A", ".hidden", "a/b", " "])
def test_a_name_that_no_card_can_have_is_refused(source: Path, home: Path, name: str) -> None:
    with pytest.raises(BadInput, match="is not a valid model name"):
        install_folder(source, name)
    assert not list((home / "models").iterdir())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("con", "'con' is a name that Windows reserves"),
        ("nul.v2", "'nul.v2' is a name that Windows reserves"),
        ("retina-vessels.", "begins or ends with a space or a dot"),
        ("a" * 300, "has 300 characters, and 64 are the most"),
    ],
)
def test_a_name_that_no_folder_can_have_everywhere_is_refused(
    source: Path, home: Path, name: str, why: str
) -> None:
    with pytest.raises(BadInput, match=f"^name: .*{why}"):
        install_folder(source, name)
    assert not list((home / "models").iterdir())


def test_nothing_damaged_is_installed(source: Path, home: Path) -> None:
    weights = source / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="its SHA-256 differs"):
        install_folder(source)
    assert not list((home / "models").iterdir())


def test_a_model_whose_codec_is_missing_needs_its_folder(source: Path, home: Path, tmp_path: Path) -> None:
    shutil.move(home / "codecs" / "lab-codec", tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="lab-codec is not on this machine"):
        install_folder(source)
    install_folder(source, codec=tmp_path / "elsewhere")


def test_an_installed_model_is_removed_and_no_other(source: Path, home: Path) -> None:
    place = install_folder(source)
    (embedded,) = [n for n in model_folders() if n == "retina-vessels"]
    with pytest.raises(BadInput, match="came with the package, and stays"):
        remove_model(embedded)
    for name in ("no-such", "../models/lesions", str(source)):
        with pytest.raises(BadInput, match="is not installed; use one of lesions"):
            remove_model(name)
    assert remove_model("lesions") == place
    assert not list(place.parent.iterdir())


def test_what_is_on_its_way_is_no_model(source: Path, home: Path) -> None:
    install_folder(source)
    shutil.copytree(source, home / "models" / ".part-1")
    assert ".part-1" not in model_folders()


def test_a_published_checkpoint_becomes_a_model(checkpoint: Path, sd_vae: Path, home: Path) -> None:
    card = api.install_model(checkpoint, name="gms-published", codec="small-vae")
    assert (card.name, card.method, card.deviations_from_paper, card.preprocess.size) == (
        "gms-published",
        "gms",
        "",
        224,
    )
    assert card.sources == ("augment", "none")
    assert card.metrics == ()
    assert "not measured here" in card.limits
    mapper = load_model("gms-published").method.trainable_modules["mapper"].state_dict()
    state = torch.load(checkpoint, weights_only=True)["model"]
    for theirs, ours in KEY_MAP.items():
        torch.testing.assert_close(mapper[ours], state[theirs].half().float(), atol=0, rtol=0)
    assert not [
        p for p in (home / "models" / "gms-published").iterdir() if str(home).encode() in p.read_bytes()
    ]
    with pytest.raises(BadInput, match="a model 'gms-published' exists already"):
        api.install_model(checkpoint, name="gms-published", codec="small-vae")


def test_a_published_checkpoint_on_taesd_is_installed_as_the_mismatch_that_it_is(
    checkpoint: Path, home: Path
) -> None:
    """Wave-GMS, Table 4: only where the configuration names TAESD."""
    import diffusers

    diffusers.AutoencoderTiny().save_pretrained(home / "codecs" / "my-taesd")
    with pytest.raises(BadInput, match="codec: is not an SD-VAE"):
        api.install_model(checkpoint, name="mismatch", codec="my-taesd")
    card = api.install_model(checkpoint, name="mismatch", codec="my-taesd", config="gms-busi-taesd")
    assert card.deviations_from_paper == "tiny codec in place of SD-VAE"
    assert "trained with an SD-VAE, not with this codec" in card.limits
    assert card.codec.kind == "tiny"
    state = load_model("mismatch").method.trainable_modules["mapper"].state_dict()
    theirs = torch.load(checkpoint, weights_only=True)["model"]["input_blocks.weight"]
    torch.testing.assert_close(state["stem.weight"], theirs.half().float(), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"codec": "embedded"}, "codec: is not an SD-VAE, which the checkpoints were trained with"),
        ({"codec": "lab-codec"}, "codec: is not an SD-VAE"),
        ({}, "codec: stabilityai/sd-vae-ft-mse is not on this machine"),
        (
            {"config": "sdseg-small", "codec": "small-vae"},
            "config: is for sdseg, but the checkpoints are of GMS",
        ),
        (
            {"config": "breast-ultrasound", "codec": "small-vae"},
            "config: has a trained conditioner",
        ),
        ({"config": "no-such"}, "no-such: no such configuration"),
        ({"name": "A name"}, "name: 'a name' is not a valid model name"),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_refused(
    checkpoint: Path, home: Path, given: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        api.install_model(checkpoint, **given)
    assert [p.name for p in (home / "models").iterdir()] == ["lesions"]


def test_what_is_not_there_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no\.pth: no such file or folder"):
        api.install_model(tmp_path / "no.pth")


def test_the_command_line_installs_and_removes(
    source: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], make_cli: Callable[..., int]
) -> None:
    assert make_cli("models", "install", source, "--name", "one") == 0
    assert make_cli("models", "install", checkpoint, "--name", "two", "--codec", "small-vae") == 0
    assert "two: two, as published, GMS" in capsys.readouterr().out
    assert make_cli("models", "install", source, "--name", "one") == 2
    assert make_cli("models", "install", source, "--name", "one", "--replace") == 0
    assert make_cli("models", "remove", "one") == 0
    assert make_cli("models", "remove", "one") == 2
    assert "one" not in json.dumps(sorted(model_folders()))
    assert "two" in model_folders()


@pytest.fixture
def make_cli() -> Callable[..., int]:
    from napari_latentseg.cli import main

    return lambda *args: main([str(a) for a in args])

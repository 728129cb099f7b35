"""What all tests share: no network, none of the user's own files, and data where it is there."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from napari_latentseg.models.folder import Model

# The same examples every time, so that a failure is a change's doing and not the day's;
# `pytest --hypothesis-profile=explore` looks for others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent

# Set before anything under test is imported: settings, models and caches of the tests are nobody's own.
_HOME = tempfile.mkdtemp(prefix="latentseg-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NAPARI_LATENTSEG_ENGINE"] = "torch"  # to compile each of a thousand tiny models takes longer
os.environ["NAPARI_CONFIG"] = ""  # napari then keeps its settings in memory
os.environ["NAPARI_LATENTSEG_HOME"] = str(Path(_HOME, "latentseg"))
for _name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ[_name] = str(Path(_HOME, _name.removeprefix("XDG_").lower()))

GUI_FIXTURES = {"make_napari_viewer", "make_napari_viewer_proxy", "qapp", "qtbot"}


def has_display() -> bool:
    """Whether a window can be shown; Qt would end the whole run where none can."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


LONG = ("training", "finetuning", "cli", "annotations", "inference")
"""Folders whose tests take long: they train, run models, or start programs."""


def order_of(item: pytest.Item) -> int:
    """Where a test stands in the run.

    `--dist=worksteal` gives each of two processes a half, and moves the tests at the end of a half to the
    process that is through first. So each half begins with what is long: the first with the windows, of which
    the other process then needs no Qt, the second with the networks that learn. Both end in short tests.
    """
    folder = item.path.relative_to(ROOT / "tests").parts[0]
    if item.get_closest_marker("gui"):
        return 0
    if item.get_closest_marker("learns"):
        return 2
    return 3 if folder in LONG else 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a display or the shared data, as its fixtures tell; order all, see `order_of`."""
    no_display = pytest.mark.skip(reason="no display; make test gives the tests a virtual one")
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "data_dir" in fixtures:
            item.add_marker(pytest.mark.data)
        if fixtures & GUI_FIXTURES or "gui" in item.path.relative_to(ROOT).parts:
            item.add_marker(pytest.mark.gui)
        if item.get_closest_marker("gui") and not has_display():
            item.add_marker(no_display)
    items.sort(key=order_of)
    # short tests, at the end until here, fill up the first half
    windows = sum(order_of(item) == 0 for item in items)
    short = len(items) - sum(order_of(item) == 4 for item in items)
    filling = max(0, min(len(items) - short, len(items) // 2 - windows))
    items[windows:] = items[len(items) - filling :] + items[windows : len(items) - filling]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The shared data: the folder that LATENTSEG_DATA names, or `shared/data` beside the project."""
    folder = Path(os.environ.get("LATENTSEG_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the shared data is not here; LATENTSEG_DATA may name its folder")
    return folder


@pytest.fixture(scope="session")
def tiny_codec_folder() -> Path:
    """A compact codec with random weights, installed as `tiny-codec`, so that models find it by its name."""
    import json

    import torch

    from napari_latentseg.codecs.compact import CompactCodec
    from napari_latentseg.models.store import data_home
    from napari_latentseg.utils.weights import save_weights

    network = {"channels": 8, "widths": (16, 16), "blocks": (1, 1)}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        codec = CompactCodec(**network)
    # decoded at random, a mask should be half in and half out, and not lost in the clamp
    head = codec.decoder.head[0]
    with torch.no_grad():
        head.weight.mul_(2.0)
        head.bias.fill_(0.5)
    folder = data_home() / "codecs" / "tiny-codec"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "codec.json").write_text(json.dumps({"kind": "compact", "network": network}), "utf-8")
    save_weights(codec.state_dict(), folder / "codec.safetensors")
    return folder


@pytest.fixture(scope="session")
def make_tiny_model(tiny_codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the folder of a tiny model with random weights, GMS where the card's fields say nothing else."""
    import torch

    from napari_latentseg.methods.registry import build_method
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import save_model_folder
    from napari_latentseg.models.store import open_codec

    def make(name: str, **changes: Any) -> Path:
        codec, spec = open_codec(tiny_codec_folder.name)
        with torch.random.fork_rng():
            torch.manual_seed(7)
            method = build_method(changes.get("method", "gms"), codec, changes.get("settings", {"width": 16}))
        fields: dict[str, Any] = {
            "name": name,
            "title": "A tiny model",
            "method": "gms",
            "variant": method.deviations_from_paper,
            "settings": {"width": 16},
            "codec": spec.model_dump(),
            "preprocess": {"mode": "whole", "size": 64},
            "augment": {},
            "classes": [{"label": 1, "name": "target", "color": "#ffb000"}],
            "sources": ["augment", "none"],
            "default_samples": 4,
        }
        card = ModelCard.model_validate(fields | changes)
        folder = tmp_path_factory.mktemp("models") / name
        save_model_folder(folder, method, card)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_model_folder(make_tiny_model: Callable[..., Path]) -> Path:
    """A tiny model that sees the whole plane."""
    return make_tiny_model("tiny-whole")


@pytest.fixture(scope="session")
def tiny_tiles_folder(make_tiny_model: Callable[..., Path]) -> Path:
    """A tiny model that sees a plane through tiles."""
    tiles = {"mode": "tiles", "size": 64, "long_side": 160, "overlap": 16}
    return make_tiny_model("tiny-tiles", preprocess=tiles)


@pytest.fixture(scope="session")
def tiny_prompted_folder(make_tiny_model: Callable[..., Path]) -> Path:
    """A tiny model that is pointed at."""
    return make_tiny_model(
        "tiny-prompted",
        method="prompted",
        settings={"width": 16, "prompt_channels": 16, "readings": 2},
        classes=[{"label": 1, "name": "structure", "color": "#ff8c00"}],
        sources=["readings"],
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_model_folder: Path) -> Model:
    """See `tiny_model_folder`."""
    from napari_latentseg.models.store import load_model

    return load_model(tiny_model_folder)


@pytest.fixture(scope="session")
def tiny_tiles_model(tiny_tiles_folder: Path) -> Model:
    """See `tiny_tiles_folder`."""
    from napari_latentseg.models.store import load_model

    return load_model(tiny_tiles_folder)


@pytest.fixture(scope="session")
def write_ellipses() -> Callable[..., Path]:
    """Writes a folder of images/ and masks/: a bright ellipse each on a noisy ground."""
    import numpy as np
    from PIL import Image

    def write(folder: Path, count: int = 6, shape: tuple[int, int] = (48, 64), seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        for number in range(count):
            y, x = rng.uniform(0.35, 0.65, 2) * shape
            a, b = rng.uniform(0.15, 0.3, 2) * shape
            mask = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
            image = np.clip(60 + 120 * mask + rng.normal(0, 12, shape), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / "images" / f"case_{number}.png")
            Image.fromarray((255 * mask).astype(np.uint8)).save(folder / "masks" / f"case_{number}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def published_names() -> Callable[..., dict[str, Any]]:
    """The weights of an `EfficientNetLite` under the names that they are published with."""
    import torch

    parts = {"expand.0": "_expand_conv", "expand.1": "_bn0", "depthwise.0": "_depthwise_conv",
             "depthwise.1": "_bn1", "project.0": "_project_conv", "project.1": "_bn2"}  # fmt: skip

    def of(network: torch.nn.Module) -> dict[str, Any]:
        found = {"_fc.weight": torch.zeros(1000, 1280), "_conv_head.weight": torch.zeros(1280, 320, 1, 1)}
        for key, value in network.state_dict().items():
            for ours, theirs in parts.items():
                key = key.replace(f".{ours}.", f".{theirs}.")
            key = key.replace("stem.0.", "_conv_stem.").replace("stem.1.", "_bn0.")
            found[f"_{key}" if key.startswith("blocks") else key] = value
        return found

    return of


@pytest.fixture
def no_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory runs out, all objects are gone through: a second each, in a process of many tests."""
    from types import SimpleNamespace

    from napari_latentseg.utils import oom

    monkeypatch.setattr(oom, "gc", SimpleNamespace(collect=lambda: 0))


@pytest.fixture
def no_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run encodes its images anew."""
    from napari_latentseg.engines import encodings

    monkeypatch.setattr(encodings, "_shared", encodings.EncodingCache(max_bytes=0))


@pytest.fixture
def own_home(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_codec_folder: Path,
    make_tiny_model: Callable[..., Path],
) -> Path:
    """A home of the test's own with a tiny model `tiny-taught` in it; child processes have it too."""
    home = tmp_path / "home"
    shutil.copytree(tiny_codec_folder, home / "codecs" / tiny_codec_folder.name)
    shutil.copytree(make_tiny_model("tiny-taught"), home / "models" / "tiny-taught")
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(home))
    return home

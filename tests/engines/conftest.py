"""Tiny methods, and a place of their own for what is compiled."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.helpers import guided
from tests.helpers.medseglatdiff import tiny_medseglatdiff

from napari_latentseg.engines import compiled_functions as module
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.store import open_codec

DENOISER = {
    "widths": (16, 32), "attention": (False, False), "layers_per_block": 1, "norm_groups": 8, "head_width": 8,
}  # fmt: skip

SETTINGS = {
    "gms": {"width": 16, "classes": 2},
    "gms, skips": {"width": 16, "classes": 2, "levels": ["out"], "mask_latents": "folded",
                   "conditioner": "pyramid", "skips": True},
    "wave-gms": {"width": 16},
    "sdseg": {"denoiser": DENOISER, "steps": 2},
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny_method(tiny_codec_folder: Path) -> Callable[[str], Method]:
    """A method with small networks and random weights, by its name and what follows it in `SETTINGS`."""

    def build(name: str) -> Method:
        if name == "guided":
            return guided.make().eval()
        if name == "medseglatdiff":
            return tiny_medseglatdiff()
        codec, _ = open_codec(tiny_codec_folder.name)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return build_method(name.partition(",")[0], codec, SETTINGS[name]).eval()

    return build


@pytest.fixture
def compiled_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_codec_folder: Path) -> Iterator[Path]:
    """The folder of compiled functions of this test, and no memory of others."""
    shutil.copytree(tiny_codec_folder, tmp_path / "codecs" / tiny_codec_folder.name)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    module._functions_for.cache_clear()
    yield tmp_path / "compiled"
    module._functions_for.cache_clear()

"""Autoencoders of diffusers, tiny and with random weights, as folders that it wrote itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.helpers.autoencoders import SMALL_KL, TINY


def autoencoder(name: str, **changes: object):
    import diffusers

    torch.manual_seed(3)
    settings = SMALL_KL if name == "AutoencoderKL" else TINY
    return getattr(diffusers, name)(**(settings | changes)).eval()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("autoencoders")
    folders = {"kl": root / "kl", "tiny": root / "tiny"}
    autoencoder("AutoencoderKL").save_pretrained(folders["kl"])
    autoencoder("AutoencoderTiny").save_pretrained(folders["tiny"])
    return folders


@pytest.fixture
def copied(written: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the folder of a kind, to break."""

    def copy(kind: str) -> Path:
        return Path(shutil.copytree(written[kind], tmp_path / kind))

    return copy


@pytest.fixture
def make() -> Callable[..., torch.nn.Module]:
    """Makes an autoencoder of diffusers, its settings changed."""
    return autoencoder


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))

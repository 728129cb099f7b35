"""The hash of everything that a compiled function is made from."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from napari_latentseg.engines.openvino import cpu_name

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard

__all__ = ["compiled_model_key", "weights_key"]

# the packages whose code the networks consist of, and that of the conversion
_PACKAGES = ("networks", "codecs", "methods", "engines")
_LIBRARIES = ("torch", "diffusers", "openvino")


def compiled_model_key(card: ModelCard, precision: str) -> str:
    """The hash under which the compiled functions of a model are kept, 32 hexadecimal digits.

    It changes with the weights, the settings, the codec, the code of the networks, the versions of the
    libraries, the processor and the precision.

    Parameters
    ----------
    card
        Its `files` hold the hashes of the weights.
    precision
        ``"float32"`` or ``"bfloat16"``.
    """
    parts = {
        "weights": weights_key(card),
        "code": _code_hash(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "processor": cpu_name(),
        "precision": precision,
    }
    return _hash(parts)


def weights_key(card: ModelCard) -> str:
    """A hash of the weights of a model and its codec, and of what they are built into."""
    return _hash(
        {
            "weights": {name: sha256 for name, sha256 in card.files.items() if name.endswith(".safetensors")},
            "method": card.method,
            "settings": card.settings,
            "codec": None if card.codec is None else card.codec.sha256,
        }
    )


def _hash(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


@cache
def _code_hash() -> str:
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for source in _sources(files("napari_latentseg") / package):
            digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


def _sources(folder: Traversable) -> list[Traversable]:
    return sorted(
        (path for path in folder.iterdir() if path.name.endswith(".py")), key=lambda path: path.name
    )


@cache  # the metadata of packages take milliseconds to read, at each of thousands of images
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""

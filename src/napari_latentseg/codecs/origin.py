"""What a codec in a folder or file is called, and which commit of a repository it is."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["commit_of", "display_name"]

_GENERIC_NAMES = {"model", "vae", "diffusion_pytorch_model"}  # of files and folders, which name no codec
_WEIGHT_SUFFIXES = (".ckpt", ".pth", ".pt", ".bin", ".safetensors")
_COMMIT = re.compile(r"/snapshots/([0-9a-f]{40})(/vae)?$")
_REPOSITORY = re.compile(r"/models--([^/]+)/snapshots/")


def display_name(path: Path) -> str:
    """What a codec in a folder or file is called: no path, which may contain a user's name.

    The name of the repository for a folder of the hub's cache; the parent of a name that many codecs have.

    Parameters
    ----------
    path
        The folder or file.

    Examples
    --------
    >>> display_name(Path("/data/kl-f8/model.ckpt")), display_name(Path("/data/taesd"))
    ('kl-f8', 'taesd')
    >>> display_name(Path("/cache/models--madebyollin--taesd/snapshots/" + "0" * 40))
    'madebyollin/taesd'
    """
    absolute = path.absolute()
    if match := _REPOSITORY.search(absolute.as_posix()):
        return match[1].replace("--", "/", 1)
    name = absolute.stem if absolute.suffix in _WEIGHT_SUFFIXES else absolute.name
    name = name.removesuffix("_encoder").removesuffix("_decoder")  # of a pair of files
    return (absolute.parent.name if name in _GENERIC_NAMES else name) or "codec"


def commit_of(folder: Path) -> str:
    """The commit of a snapshot folder in the hub's cache; empty for any other folder."""
    match = _COMMIT.search(folder.absolute().as_posix())
    return match[1] if match else ""

"""Read and write network weights safely: safetensors only, every name, shape and value checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["file_sha256", "load_state", "load_weights", "read_torch_state", "save_weights"]

_REINSTALL = "install it again"


def file_sha256(path: Path) -> str:
    """SHA-256 of the content of a file, 64 hexadecimal digits.

    Raises
    ------
    BadInput
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise BadInput(
            path, f"cannot be read ({error.strerror})", "check that it exists and that you may read it"
        ) from error
    return digest.hexdigest()


def load_weights(module: nn.Module, path: Path, *, prefix: str = "") -> None:
    """Load a safetensors file into a module as float32; all names and shapes must match.

    Parameters
    ----------
    module
        Receives the weights.
    path
        A .safetensors file.
    prefix
        Load only the weights whose names start with it, with the prefix removed.

    Raises
    ------
    BadInput
        If the file is missing or damaged, or its names or shapes are not those of the module.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise BadInput(path, "no such file", _REINSTALL)
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(path, "is damaged or not a safetensors file", _REINSTALL) from error
    load_state(module, {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, path)


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict into a module as float32; all names and shapes must match.

    Parameters
    ----------
    module
        Receives the weights.
    state
        The weights by name.
    path
        The file they were read from, for messages.

    Raises
    ------
    BadInput
        If a name, shape or type is not that of the module, or a value is not finite; the module is unchanged
        then.
    """
    expected = module.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        raise BadInput(
            path,
            f"is not for this model: {len(missing)} weights missing, {len(extra)} unknown"
            f" (first: {(missing + extra)[0]})",
            _REINSTALL,
        )
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise BadInput(
                path,
                f"is not for this model: weight {name} has the shape {tuple(value.shape)},"
                f" not {tuple(expected[name].shape)}",
                _REINSTALL,
            )
        if value.is_complex() or (expected[name].is_floating_point() and not value.is_floating_point()):
            kind = str(value.dtype).removeprefix("torch.")
            raise BadInput(path, f"weight {name} holds numbers of type {kind}, not floats", _REINSTALL)
        if not bool(value.isfinite().all()):
            raise BadInput(path, f"weight {name} holds values that are not finite", _REINSTALL)
    module.load_state_dict({name: value.float() for name, value in state.items()})


def save_weights(state: Mapping[str, Tensor], path: Path, *, half: bool = False) -> None:
    """Write a state dict as safetensors; `half` stores floating-point weights as float16.

    Raises
    ------
    BadInput
        If a value is not finite (in float16, with `half`), or the file cannot be written.
    """
    from safetensors.torch import save

    stored = {
        k: (v.half() if half and v.is_floating_point() else v).detach().cpu().contiguous()
        for k, v in state.items()
    }
    for name, value in stored.items():
        if not bool(value.isfinite().all()):
            raise BadInput(
                path,
                f"weight {name} holds values that cannot be stored",
                "train again at a lower learning rate",
            )
    try:
        path.write_bytes(save(stored))  # save_file would make it readable by its owner alone
    except OSError as error:
        raise BadInput(
            path, f"cannot be written ({error.strerror})", "choose another folder, or free some disk space"
        ) from error


def read_torch_state(path: Path, wrappers: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Read a PyTorch .pth state dict, for conversion only; no code in it is executed.

    Parameters
    ----------
    path
        The file.
    wrappers
        Keys under which a checkpoint may hold the state dict; its other entries are ignored.

    Raises
    ------
    BadInput
        If the file is missing or damaged, or holds anything but tensors.
    """
    import torch

    if not path.is_file():
        raise BadInput(path, "no such file", _REINSTALL)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a malicious or broken pickle can raise anything
        raise BadInput(
            path, "is not a plain PyTorch state dict", "only tensors are read; use a .safetensors file"
        ) from error
    if isinstance(state, dict):
        state = next((state[name] for name in wrappers if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise BadInput(path, "holds something other than named tensors", "save the state dict alone")
    return state

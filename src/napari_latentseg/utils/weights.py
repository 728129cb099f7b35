"""Read and write network weights safely: every name, shape and value checked, and no code in a file run."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.size_claims import check_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["file_sha256", "load_state", "load_weights", "read_state", "read_torch_state", "save_weights"]

_REINSTALL = "install it again"
_ZIP_MAGIC = b"PK\x03\x04"

# What checkpoints hold beside the weights: callbacks of Lightning, as keys of their states, and scores as
# numbers of NumPy. Each is read as an empty object; the files of latent diffusion could not be read without.
_IGNORED_GLOBALS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
_ignoring = threading.Lock()  # torch has one list of what it lets through, for all threads


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


def load_weights(module: nn.Module, path: Path, *, prefix: str = "", without: tuple[str, ...] = ()) -> None:
    """Load a safetensors file into a module as float32; all names and shapes must match.

    Parameters
    ----------
    module
        Receives the weights.
    path
        A .safetensors file.
    prefix
        Load only the weights whose names start with it, with the prefix removed.
    without
        Leave the weights of the module whose names start with one of these as they are.

    Raises
    ------
    BadInput
        If the file is missing or damaged, or its names or shapes are not those of the module.
    """
    state = _read_safetensors(path, _REINSTALL)
    state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if without:
        state = {k: v for k, v in state.items() if not k.startswith(without)}
        state |= {k: v for k, v in module.state_dict().items() if k.startswith(without)}
    load_state(module, state, path)


def load_state(
    module: nn.Module, state: Mapping[str, Tensor], path: Path, *, remedy: str = _REINSTALL
) -> None:
    """Load a state dict into a module as float32; all names and shapes must match.

    Parameters
    ----------
    module
        Receives the weights.
    state
        The weights by name.
    path
        The file they were read from, for messages.
    remedy
        For messages.

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
            remedy,
        )
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise BadInput(
                path,
                f"is not for this model: weight {name} has the shape {tuple(value.shape)},"
                f" not {tuple(expected[name].shape)}",
                remedy,
            )
        if value.is_complex() or (expected[name].is_floating_point() and not value.is_floating_point()):
            kind = str(value.dtype).removeprefix("torch.")
            raise BadInput(path, f"weight {name} holds numbers of type {kind}, not floats", remedy)
        if not bool(value.isfinite().all()):
            raise BadInput(path, f"weight {name} holds values that are not finite", remedy)
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


def read_state(path: Path, wrappers: tuple[str, ...] = (), *, remedy: str = _REINSTALL) -> dict[str, Tensor]:
    """Read named tensors from a .safetensors file, or from a pickled checkpoint as `read_torch_state`.

    Parameters
    ----------
    path
        The file.
    wrappers
        As for `read_torch_state`; safetensors have none.
    remedy
        What to do about a file that is damaged.

    Raises
    ------
    BadInput
        If the file is missing or damaged, or holds anything but tensors.
    """
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path, remedy)
    return read_torch_state(path, wrappers)


def _read_safetensors(path: Path, remedy: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise BadInput(path, "no such file", remedy)
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(path, "is damaged or not a safetensors file", remedy) from error
    return state


def read_torch_state(path: Path, wrappers: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Read a PyTorch .pth or .ckpt state dict, for conversion only; no code in it is executed.

    The tensors of a present-day file stay on the disk until they are used, so that a part of a large
    checkpoint can be taken.

    Parameters
    ----------
    path
        The file.
    wrappers
        Keys under which a checkpoint may hold the state dict; its other entries are ignored.

    Raises
    ------
    BadInput
        If the file is missing or damaged, holds anything but tensors, or claims more values than it holds.
    """
    import torch

    if not path.is_file():
        raise BadInput(path, "no such file", _REINSTALL)
    is_zip = _is_uncompressed_zip(path)
    if not is_zip:  # as torch saved before 1.6; read as a whole
        check_memory(path, path.stat().st_size)
    try:
        with _ignoring, torch.serialization.safe_globals([(_Ignored, name) for name in _IGNORED_GLOBALS]):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
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
    for name, value in state.items():
        # a tensor may claim any shape by strides of zero
        if value.layout != torch.strided or value.nbytes > value.untyped_storage().nbytes():
            raise BadInput(path, f"weight {name} claims more values than the file holds", "copy it again")
    return state


class _Ignored:
    """Stands for an object in a checkpoint that is not read, whatever it is made from."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _is_uncompressed_zip(path: Path) -> bool:
    """Whether a checkpoint is a zip file as torch writes it, without compression.

    Raises
    ------
    BadInput
        If it is a zip file, and damaged or compressed: it might unpack to more than the memory holds.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
                return False
        with zipfile.ZipFile(path) as archive:
            is_stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BadInput(
            path, "is not a plain PyTorch state dict: it is damaged, or cut short", "copy it again"
        ) from error
    if not is_stored:
        raise BadInput(
            path, "is not a plain PyTorch state dict: it is compressed", "unpack it, and save the state dict"
        )
    return True

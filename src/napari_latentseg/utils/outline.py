"""Networks built without memory, to hold their size against their file of weights first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.size_claims import is_harmless_size

__all__ = ["check_network_size", "unset_weights"]

_MAX_MODULES = 10_000  # the largest published network here has about 1,500
# Bytes in memory for a byte in the file: float16 becomes float32, and buffers may come to as much again.
_BYTES_PER_STORED_BYTE = 4
_MAX_REASON_LENGTH = 120  # of what torch says, which may repeat the settings
# On the meta device normal_ is computed by torch._refs, which imports torch._dynamo and sympy: over a second.
_RANDOM_FILLS = (Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_)
_BUILDING_ERRORS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


def check_network_size(
    what: object, build: Callable[[], nn.Module], weights: Path | Sequence[Path], remedy: str
) -> None:
    """Refuse settings of a network that cannot be built, or is far larger than its weights.

    Parameters
    ----------
    what
        Where the settings are, for the message.
    build
        Builds the network from the settings; called once, on torch's meta device.
    weights
        The file of weights, or several; one that is missing counts as empty.
    remedy
        For the message.

    Raises
    ------
    BadInput
        As described, and what `build` raises as such.
    """
    files = [weights] if isinstance(weights, Path) else weights
    stored_bytes = sum(file.stat().st_size for file in files if file.is_file())
    try:
        with _outline():
            network = build()
    except BadInput:
        raise
    except _BUILDING_ERRORS as error:
        reason = " ".join(str(error).split())[:_MAX_REASON_LENGTH]
        raise BadInput(what, f"does not fit the network ({reason})", remedy) from error
    tensors = (*network.parameters(), *network.buffers())
    needed_bytes = sum(t.numel() * t.element_size() for t in tensors if t.is_meta)
    if not is_harmless_size(needed_bytes, stored_bytes, _BYTES_PER_STORED_BYTE):
        raise BadInput(what, "is of a network far larger than its weights", remedy)


class _UnsetWeights(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _RANDOM_FILLS and kwargs.get("generator") is None:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]  # torch.nn.init passes it by name
        return func(*args, **kwargs)


def unset_weights() -> AbstractContextManager[object]:
    """In this thread, new modules do not draw random weights, since those of a file replace them.

    Only for networks whose weights are then loaded by `load_weights`, which takes none but complete files.

    Examples
    --------
    >>> from torch import nn
    >>> from napari_latentseg.utils.outline import unset_weights
    >>> with unset_weights():
    ...     layer = nn.Linear(2, 3)
    >>> layer.weight.shape
    torch.Size([3, 2])
    """
    return _UnsetWeights()


@contextmanager
def _outline() -> Iterator[None]:
    """In this thread, new tensors have a shape only, and modules are built up to a number."""
    thread_id, module_count = threading.get_ident(), 0

    def count_module(parent: nn.Module, name: str, module: nn.Module | None) -> None:
        nonlocal module_count
        if threading.get_ident() == thread_id:
            module_count += 1
            if module_count > _MAX_MODULES:
                raise ValueError("more layers than any network has")

    handle = register_module_module_registration_hook(count_module)
    try:
        with torch.device("meta"), unset_weights():
            yield
    finally:
        handle.remove()

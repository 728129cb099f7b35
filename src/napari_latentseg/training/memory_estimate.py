"""The memory of a training step, measured on one image before the first step, and the parts that fit.

Under Linux memory that is not there is given all the same, and the kernel then kills the program. So the
tensors of one image's forward and backward pass are counted, the memory of a step is extrapolated, and held
against what is free.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from napari_latentseg.errors import BadInput

__all__ = ["StepMemory", "TensorMemory", "count_tensors_of_pass"]

_GB = 1e9

# Of the tensors at once, on a CPU: more brings no speed, as an image of this size occupies all cores, and the
# same configuration is split in the same way on every machine that has so much.
_CPU_PART_BYTES = 3 * 2**30

# Of the free memory: the rest is for the batches that are made ahead, and for other programs.
_USABLE = 0.85

# Resident memory over the bytes of the tensors, for what torch's kernels and the allocator take beside them:
# 1.1 (wave-gms-busi) to 1.3 (guided-abdomen) in bench/step_memory.py.
_KERNEL_FACTOR = 1.3

# exp_avg and exp_avg_sq of AdamW
_OPTIMIZER_COPIES = 2


class TensorMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while the block runs, and that still exist.

    Parameters
    ----------
    device
        Whose tensors are counted.
    limit
        Bytes at which the block is ended; None for no limit.

    Attributes
    ----------
    live_bytes, peak_bytes
        Of the tensors made in the block: now, and at most.

    Raises
    ------
    MemoryError
        Inside the block, when the limit is reached.
    """

    def __init__(self, device: torch.device, limit: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device_type, self.limit = device.type, limit
        self.live_bytes = self.peak_bytes = 0
        self._storages: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Called by torch in place of each of its operators."""
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, result)
        return result

    def _count(self, tensor: Tensor) -> Tensor:
        if tensor.device.type != self.device_type:
            return tensor
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._storages:
            return tensor
        size = storage.nbytes()

        def forget(_: Any) -> None:
            del self._storages[key]
            self.live_bytes -= size

        self._storages[key] = weakref.ref(storage, forget)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        if self.limit is not None and self.live_bytes > self.limit:
            raise MemoryError
        return tensor


def count_tensors_of_pass(
    compute_loss: Callable[[], Tensor], weights: Sequence[nn.Parameter], limit: int | None = None
) -> int:
    """Bytes that a forward and backward pass takes at its most; the gradients are discarded.

    Parameters
    ----------
    compute_loss
        Gives the scalar loss of one image.
    weights
        What is trained; must have no gradient yet.
    limit
        Bytes at which the pass is ended with an error.

    Raises
    ------
    MemoryError
        If the limit is reached.
    """
    memory = TensorMemory(weights[0].device, limit)
    try:
        with memory:
            compute_loss().backward()
    finally:
        for weight in weights:
            weight.grad = None
    return round(_KERNEL_FACTOR * memory.peak_bytes)


@dataclass(frozen=True)
class StepMemory:
    """The memory of a training step, in bytes.

    Attributes
    ----------
    used
        What the process uses before the first step: weights, codec, moving average, libraries.
    free
        What it can use beside that.
    standing
        What the training will hold from its first steps on, whatever the batch: gradients, the optimizer's
        state, a copy of the best weights.
    per_image
        What the forward and backward pass of one image takes.

    Examples
    --------
    >>> memory = StepMemory(used=10**9, free=8 * 10**9, standing=10**8, per_image=15 * 10**8)
    >>> memory.images_at_once("cpu", batch_size=8), round(memory.total(2) / 1e9, 1)
    (2, 4.1)
    """

    used: int
    free: int
    standing: int
    per_image: int

    def total(self, part_size: int) -> int:
        """What the process uses in a step that computes so many images at once."""
        return self.used + self.standing + part_size * self.per_image

    def images_at_once(self, device: str, batch_size: int) -> int:
        """How many images of a batch are computed at once: what fits, at least one.

        Parameters
        ----------
        device
            As in `Compute`. A CPU computes no more at once than it profits from.
        batch_size
            Images of the batch.

        Raises
        ------
        BadInput
            If not even one image fits.
        """
        if self.standing + self.per_image > self.free:
            raise too_little_memory(self.standing + self.per_image, self.free)
        room = int(_USABLE * self.free) - self.standing
        if device == "cpu":
            room = min(room, _CPU_PART_BYTES)
        return max(1, min(batch_size, room // max(1, self.per_image)))

    def check_whole_batch(self, batch_size: int) -> None:
        """Refuse a batch that must not be split and does not fit.

        Raises
        ------
        BadInput
            If so many images at once take more than is free.
        """
        needed = self.standing + batch_size * self.per_image
        if needed > self.free:
            raise BadInput(
                "memory",
                f"a batch of {batch_size}, which the batch norms of this model need whole, takes about"
                f" {needed / _GB:.1f} GB, and {self.free / _GB:.1f} GB are free",
                "lower the batch size",
            )


def standing_bytes(
    weights: Sequence[nn.Parameter], *, has_optimizer_state: bool, has_kept_weights: bool, accumulates: bool
) -> int:
    """`StepMemory.standing` of weights that have no gradient yet.

    Parameters
    ----------
    weights
        What is trained.
    has_optimizer_state, has_kept_weights
        Whether these exist already, as in a training that is resumed.
    accumulates
        Whether gradients are accumulated over batches, and a copy of them is kept.
    """
    weight_bytes = sum(weight.numel() * weight.element_size() for weight in weights)
    copies = 2 if accumulates else 1
    copies += 0 if has_optimizer_state else _OPTIMIZER_COPIES
    copies += 0 if has_kept_weights else 1
    return copies * weight_bytes


def too_little_memory(needed: int, free: int) -> BadInput:
    """The error where one image does not fit."""
    return BadInput(
        "memory",
        f"a training step of one image takes {needed / _GB:.1f} GB or more, and {free / _GB:.1f} GB are free",
        "close other programs, or use a smaller size or a smaller model",
    )

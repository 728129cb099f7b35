"""The gradient of a batch, computed in parts that fit into memory.

The terms of every loss are means over images (or over their annotated classes), and no network but those with
batch norms looks at several images at once: the gradient of a batch is the weighted sum of those of its
parts. Random numbers are those of the whole batch (`WholeBatch`), so that the size of the parts changes
nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from napari_latentseg.methods.base import Batch
from napari_latentseg.training.loop import TrainingStep
from napari_latentseg.training.memory_estimate import (
    StepMemory,
    count_tensors_of_pass,
    standing_bytes,
    too_little_memory,
)
from napari_latentseg.training.processes import ONE_PROCESS, Processes
from napari_latentseg.utils.batch_share import RowsOfBatch, WholeBatch
from napari_latentseg.utils.device import Compute, is_out_of_memory
from napari_latentseg.utils.launcher import local_process_count
from napari_latentseg.utils.memory import free_memory, used_memory
from napari_latentseg.utils.oom import BatchSize

__all__ = ["SplitBatch", "has_batch_norm"]

BatchLoss = Callable[[Batch, torch.Generator | None], dict[str, Tensor]]


def has_batch_norm(module: nn.Module) -> bool:
    """Whether any batch normalisation of a module is in training: it needs all images of a batch at once."""
    return any(
        isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training for part in module.modules()
    )


@dataclass
class SplitBatch:
    """Adds the gradient of a batch to the weights of a stage, in one part or in several.

    Parameters
    ----------
    step
        Of the stage; its gradient is added to.
    loss
        As `Stage.loss`.
    row_count
        As `Method.loss_row_count`.
    compute
        Device and arithmetic.
    processes
        Those that train together; each splits its own share.
    on_part
        Called after each part with the number of images, of all processes, that are done of the batch.
    should_stop
        Asked between two parts; True gives the batch up.
    on_size
        Called with the images of the own share, how many of them are computed at once, and the bytes that the
        process then takes, when that is chosen and when memory ran out and it was halved.

    Attributes
    ----------
    part_size
        Images computed at once; None for the whole share.
    memory
        Of a step, once it was measured.
    """

    step: TrainingStep
    loss: BatchLoss
    row_count: Callable[[Tensor], int]
    compute: Compute
    processes: Processes = ONE_PROCESS
    on_part: Callable[[int], None] = lambda images: None
    should_stop: Callable[[], bool] = lambda: False
    on_size: Callable[[int, int, int], None] = lambda batch_size, part_size, total_bytes: None
    part_size: int | None = field(init=False, default=None)
    memory: StepMemory | None = field(init=False, default=None)

    def add_gradient(self, batch: Batch, generator: torch.Generator) -> dict[str, float] | None:
        """Add the gradient of a batch; the part size is halved, permanently, where memory runs out.

        Returns
        -------
        dict or None
            The terms of the loss, of the whole batch. None where `should_stop` gave the batch up: gradient
            and random generators are then as before.

        Raises
        ------
        BadInput
            If not even one image fits into memory, or the loss is infinite or not a number.
        """
        own_size = len(batch.images)
        if has_batch_norm(self.step.parts):
            size = BatchSize(
                1,
                f"is too small for batches of {own_size}, which the batch norms of this model need whole",
                remedy="lower the batch size",
            )
            return self._compute(batch, generator, size, lambda rows: own_size)
        size = BatchSize(
            min(self.part_size or own_size, own_size), on_halved=partial(self._set_part_size, own_size)
        )
        return self._compute(batch, generator, size, lambda rows: rows)

    def choose_part_size(
        self, batch: Batch, generator: torch.Generator, at_most: int | None, *, has_kept_weights: bool = False
    ) -> None:
        """Choose how many images are computed at once, from the memory that is measured.

        Parameters
        ----------
        batch, generator, has_kept_weights
            As for `measure`.
        at_most
            The number of a training that is resumed, to repeat its rounding; None for no limit.

        Raises
        ------
        BadInput
            If one image does not fit into the free memory, or a batch does not that must not be split.
        """
        own_size = len(batch.images)
        memory = self.measure(batch, generator, has_kept_weights=has_kept_weights)
        if has_batch_norm(self.step.parts):
            memory.check_whole_batch(own_size)
            part_size = own_size
        else:
            part_size = memory.images_at_once(self.compute.device, min(at_most or own_size, own_size))
        self._set_part_size(own_size, part_size)

    def _set_part_size(self, own_size: int, part_size: int) -> None:
        self.part_size = part_size
        self.on_size(own_size, part_size, 0 if self.memory is None else self.memory.total(part_size))

    def _compute(
        self, batch: Batch, generator: torch.Generator, size: BatchSize, part_size: Callable[[int], int]
    ) -> dict[str, float] | None:
        random_state = _RandomState(generator, self.compute.torch_device())
        # of the batches before, where gradients are accumulated: an attempt that failed may have added to it
        earlier_gradient = self.step.copy_gradient()
        attempts = 0

        def begin_again() -> None:
            random_state.restore()
            self.step.restore_gradient(earlier_gradient)

        def attempt(rows: int) -> tuple[list[str], Tensor] | None:
            nonlocal attempts
            if attempts:
                begin_again()
            attempts += 1
            return self._add_parts(batch, generator, part_size(rows), random_state)

        result = size.attempt(attempt)
        if result is None:
            begin_again()
            return None
        return self.step.loss_values(*result)

    def _add_parts(
        self, batch: Batch, generator: torch.Generator, part_size: int, random_state: _RandomState
    ) -> tuple[list[str], Tensor] | None:
        """Add the gradient of each part.

        Returns
        -------
        names, values
            Of the terms of the own share, see `TrainingStep.loss_values`; None where the batch was given up.
        """
        own_size = len(batch.images)
        whole_size = own_size if batch.whole_annotated is None else len(batch.whole_annotated)
        share = self.processes.share
        total: Tensor | None = None
        names: list[str] = []
        with RowsOfBatch(share, whole_size) as rows_of_batch:
            for start in range(0, own_size, part_size):
                part = slice(start, min(start + part_size, own_size))
                is_whole = part == slice(0, own_size)
                if start:
                    if self.should_stop():
                        return None
                    random_state.restore()
                rows_of_batch.begin_part()
                one_of_several = (
                    nullcontext()
                    if is_whole and self.processes.count == 1
                    else WholeBatch(share, whole_size, None if is_whole else part)
                )
                with one_of_several, self.compute.autocast():
                    terms = self.loss(batch if is_whole else _rows(batch, part), generator)
                values = self.step.add_part(terms, weight=self._weight(batch, part))
                names, total = list(terms), values if total is None else total + values
                self.on_part(round(part.stop * whole_size / own_size))
            rows_of_batch.complete()
        assert total is not None  # a batch has images
        return names, total

    def _weight(self, batch: Batch, part: slice) -> float:
        """The share of a part in the means over the whole batch."""
        if batch.whole_annotated is not None:
            whole = batch.whole_annotated
            first = self.processes.share.rows(len(whole)).start
            return self.row_count(whole[first + part.start : first + part.stop]) / self.row_count(whole)
        if part == slice(0, len(batch.images)):
            return 1.0
        if batch.annotated is None:
            return float(part.stop - part.start) / len(batch.images)
        return self.row_count(batch.annotated[part]) / self.row_count(batch.annotated)

    def measure(
        self, batch: Batch, generator: torch.Generator, *, has_kept_weights: bool = False
    ) -> StepMemory:
        """Measure the memory of a step, by a pass over one image that leaves no trace.

        Parameters
        ----------
        batch
            Of the training; the first image is computed.
        generator
            Of the losses; its state is restored.
        has_kept_weights
            Whether the best weights are held already.

        Raises
        ------
        BadInput
            If one image does not fit into the free memory.
        """
        device, weights = self.compute.device, self.step.weights
        self.step.forget_gradient()
        used, free = used_memory(device), free_memory(device)
        if device == "cpu":
            free //= local_process_count()  # each of them will take as much
        standing = standing_bytes(
            weights,
            has_optimizer_state=bool(self.step.optimizer.state),
            has_kept_weights=has_kept_weights,
            accumulates=self.step.accumulate > 1,
        )
        random_state = _RandomState(generator, self.compute.torch_device())
        one_image = replace(_rows(batch, slice(0, 1)), whole_annotated=None)

        def compute_loss() -> Tensor:
            with self.compute.autocast():
                terms = self.loss(one_image, generator)
            return torch.stack([term.float() for term in terms.values()]).sum()

        try:
            # what is to be remembered of a batch is collected, and dropped
            with RowsOfBatch(ONE_PROCESS.share, 1), _batch_norms_fixed(self.step.parts):
                per_image = count_tensors_of_pass(compute_loss, weights, limit=free)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise too_little_memory(standing + free, free) from error
        finally:
            random_state.restore()
        self.memory = StepMemory(used, free, standing, per_image)
        return self.memory


class _RandomState:
    """The state of the random generators that a loss draws from, to draw the same again.

    Parameters
    ----------
    generator
        Of the losses.
    device
        Whose global generator draws dropout.
    """

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self._generator, self._device = generator, device
        self._state, self._cpu_state = generator.get_state(), torch.get_rng_state()
        self._gpu_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        """Set the generators to this state."""
        self._generator.set_state(self._state)
        torch.set_rng_state(self._cpu_state)
        if self._gpu_state is not None:
            torch.cuda.set_rng_state(self._gpu_state, self._device)


def _rows(batch: Batch, rows: slice) -> Batch:
    """Some of the images of a batch."""
    annotated = None if batch.annotated is None else batch.annotated[rows]
    return replace(batch, images=batch.images[rows], masks=batch.masks[rows], annotated=annotated)


@contextmanager
def _batch_norms_fixed(module: nn.Module) -> Iterator[None]:
    """Batch norms in evaluation mode while the block runs: one image has no statistics."""
    norms: Sequence[nn.Module] = [
        part
        for part in module.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training
    ]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()

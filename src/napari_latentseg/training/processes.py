"""Several processes that train one model, started by `accelerate launch` or `torchrun`.

Each computes its share of every batch; the gradients are added up, so that all make the same step. The main
process alone writes and reports. Outside of a launcher there is one process, and nothing here does anything.
"""

# Not `Accelerator.prepare`: it wraps the one module whose forward pass gives the loss, while our losses call
# several modules of a method, and it splits batches without their random numbers, so that two processes would
# train other weights than one.

from __future__ import annotations

import atexit
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput, EndedElsewhere
from napari_latentseg.training.launch import (
    LaunchRequest,
    check_device,
    read_launch_request,
)
from napari_latentseg.utils.launcher import is_launched, is_launched_on_cpu, note_meeting, process_count

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_latentseg.utils.batch_share import Share

__all__ = ["ONE_PROCESS", "Processes", "join_processes"]

_LONG = timedelta(days=30)  # the others wait while the main process evaluates and writes
_GRACE_S = 5.0  # an error of all processes is known to all within this time
_NO_REQUEST = LaunchRequest()
_groups: list[Any] = []


@dataclass(frozen=True)
class Processes:
    """The rank of this process among those that train together; by default there is one.

    Attributes
    ----------
    index, count
        Of this process, from 0, and how many there are.
    device
        Device of this process; None where the launcher says nothing.
    request
        What the launcher's configuration asks for.
    control, farewell
        Groups of `torch.distributed` on the CPU: for numbers, and for errors; None for one process.
    """

    index: int = 0
    count: int = 1
    device: str | None = None
    request: LaunchRequest = _NO_REQUEST
    control: Any = None
    farewell: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.index == 0

    @property
    def share(self) -> Share:
        """The share of every batch that this process computes."""
        from napari_latentseg.utils.batch_share import Share

        return Share(self.index, self.count)

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sum of each value over all processes."""
        if self.count == 1:
            return list(values)
        import torch

        totals = torch.tensor(values, dtype=torch.float64)
        with _ended_elsewhere():
            torch.distributed.all_reduce(totals, group=self.control)
        return [float(total) for total in totals]

    def any(self, value: bool) -> bool:
        """Whether the value is true in any process."""
        return value if self.count == 1 else self.sums([float(value)])[0] > 0

    def add_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Replace the gradients of all weights by their sums over all processes."""
        if self.count == 1:
            return
        import torch

        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _ended_elsewhere():
            torch.distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, total in zip(gradients, parts, strict=True):
            gradient.copy_(total.view(gradient.shape))

    def equalise(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the tensors of the main one."""
        if self.count == 1:
            return
        import torch

        for tensor in tensors:
            whole = tensor.detach().contiguous()
            with _ended_elsewhere():
                torch.distributed.broadcast(whole, 0)
            tensor.detach().copy_(whole)

    def map(self, items: Sequence[Any], function: Callable[[Any], float | None]) -> list[float | None]:
        """The function of each item, computed by turns in the processes, and known to all of them."""
        if self.count == 1:
            return [function(item) for item in items]
        import torch

        values = torch.zeros(len(items), dtype=torch.float64)
        for i in range(self.index, len(items), self.count):
            value = function(items[i])
            values[i] = math.nan if value is None else value
        with _ended_elsewhere():
            torch.distributed.all_reduce(values, group=self.control)
        return [None if math.isnan(value) else value for value in values.tolist()]

    def check_same(self, what: str, text: str, remedy: str) -> None:
        """Refuse to go on where a text differs between the processes.

        Raises
        ------
        BadInput
            In all of them; `what` and `remedy` are those of the message.
        """
        if self.any(self.main_says(lambda: text) != text):
            raise BadInput(what, "differ between the processes of this training", remedy)

    def main_says(self, text: Callable[[], str]) -> str:
        """The text that the main process makes; the others wait for it."""
        if self.count == 1:
            return text()
        import torch

        texts = [text() if self.is_main else ""]
        with _ended_elsewhere():
            torch.distributed.broadcast_object_list(texts, 0, group=self.control)
        return texts[0]

    @contextmanager
    def one_error(self) -> Iterator[None]:
        """Let an error that strikes several processes be raised by the first of them alone.

        Raises
        ------
        EndedElsewhere
            In the other processes.
        """
        try:
            yield
        except EndedElsewhere:
            raise
        except Exception:
            if self.count > 1 and self._main_has_error():
                raise EndedElsewhere from None
            raise

    def _main_has_error(self) -> bool:
        """Whether the main process is another one and has an error too, as far as that is known soon.

        The main process tells the others of its own, and so does not return True.
        """
        import torch

        message = torch.ones(1)
        works = (
            [torch.distributed.isend(message, i, self.farewell) for i in range(1, self.count)]
            if self.is_main
            else [torch.distributed.irecv(message, 0, self.farewell)]
        )
        end = time.monotonic() + _GRACE_S
        try:
            for work in works:
                work.wait(timedelta(seconds=max(0.01, end - time.monotonic())))  # type: ignore[union-attr]
        except RuntimeError:
            return False
        return not self.is_main


ONE_PROCESS = Processes()


@contextmanager
def _ended_elsewhere() -> Iterator[None]:
    """An error of a collective operation means that another process is no longer there."""
    try:
        yield
    except RuntimeError as error:
        raise EndedElsewhere from error


def join_processes(device: str = "auto") -> Processes:
    """Join the other processes that a launcher has started; a group of one where there is none.

    Parameters
    ----------
    device
        As the user asks for it, see `resolve_compute`.

    Raises
    ------
    BadInput
        If accelerate is missing or the launcher asks for what is not supported, if the device contradicts
        it, or if the processes cannot reach each other.
    """
    if not is_launched():
        return ONE_PROCESS
    request = read_launch_request()
    check_device(device)
    if process_count() == 1:
        return Processes(device="cpu" if is_launched_on_cpu() else None, request=request)
    try:
        from accelerate.state import PartialState
    except ImportError as error:
        raise BadInput(
            "accelerate", "is not installed", 'pip install "napari-latentseg[scale]", or launch without it'
        ) from error
    import torch

    uses_cpu = device == "cpu" or not torch.cuda.is_available() or is_launched_on_cpu()
    try:
        state = PartialState(cpu=uses_cpu)
    except (RuntimeError, ValueError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        remedy = "check the address and the port of the main process"
        raise BadInput("the processes", f"cannot reach each other ({why})", remedy) from error
    note_meeting()
    # one pair of groups for all trainings of this process
    if not _groups:
        new_group = torch.distributed.new_group
        _groups.extend(new_group(backend="gloo", timeout=_LONG) for _ in range(2))
        atexit.register(_leave)
    device = str(state.device) if state.device.type == "cuda" else state.device.type
    return Processes(state.process_index, state.num_processes, device, request, *_groups)


def _leave() -> None:
    """End the connections, without which torch warns; by `PartialState` they may have ended already."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

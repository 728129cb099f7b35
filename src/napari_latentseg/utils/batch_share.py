"""A share or a part of a batch, computed with the results of the whole batch.

A share is what one of several processes computes; a part is what fits into its memory at once. Inside
`WholeBatch` random numbers are drawn for all rows of the batch, from the same generator in every process and
for every part, and the own rows are taken; a batch normalisation in training uses the statistics of all rows.
So a loss says the same of a batch as a whole, in several processes and in parts, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from napari_latentseg.errors import EndedElsewhere

__all__ = [
    "WHOLE",
    "RowsOfBatch",
    "Share",
    "WholeBatch",
    "sum_over_processes",
    "when_batch_is_complete",
]


@dataclass(frozen=True)
class Share:
    """Which share of every batch a process computes: consecutive rows.

    Attributes
    ----------
    index
        Of the process, from 0.
    count
        Number of processes.

    Examples
    --------
    >>> [Share(i, 3).rows(8) for i in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """

    index: int = 0
    count: int = 1

    def sizes(self, size: int) -> list[int]:
        """The number of rows of each process, of a batch of `size` rows."""
        bounds = [size * i // self.count for i in range(self.count + 1)]
        return [stop - start for start, stop in pairwise(bounds)]

    def rows(self, size: int) -> slice:
        """The rows of this process, of a batch of `size` rows."""
        return slice(size * self.index // self.count, size * (self.index + 1) // self.count)


WHOLE = Share()


class WholeBatch(TorchFunctionMode):
    """Lets a share or a part of a batch be computed as the whole batch would be, while the block runs.

    Parameters
    ----------
    share
        Which rows this process computes.
    size
        Number of rows of the whole batch.
    part
        Which rows of the share are computed now; None for all of them. The random generators must be in the
        same state before each part.

    Raises
    ------
    NotImplementedError
        At a random function for which the numbers of the whole batch cannot be drawn, or at a batch
        normalisation of a part.
    """

    def __init__(self, share: Share, size: int, part: slice | None = None) -> None:
        super().__init__()
        self.size, self.rows = size, share.rows(size)
        if part is not None:
            self.rows = slice(self.rows.start + part.start, self.rows.start + part.stop)
        self.own_size = self.rows.stop - self.rows.start
        self.is_part = self.own_size < share.sizes(size)[share.index]

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by torch in place of each of its functions."""
        if func in _UNSUPPORTED:
            raise NotImplementedError(f"{func.__name__} draws for a part of the batch alone")
        replacement = _REPLACEMENTS.get(func)
        return (
            func(*args, **(kwargs or {}))
            if replacement is None
            else replacement(self, func, *args, **(kwargs or {}))
        )

    def _check_rows(self, func: Any, rows: int) -> None:
        if rows != self.own_size:
            raise NotImplementedError(f"{func.__name__}: {rows} rows, but {self.own_size} images")

    def _draw(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """`rand` and `randn`, whose arguments are or hold the size; `randint`, where it is the last one."""
        limits, size = (args[:-1], args[-1]) if args and isinstance(args[-1], Sequence) else ((), args)
        if not size:  # one number for all images
            return func(*args, **kwargs)
        self._check_rows(func, size[0])
        return func(*limits, (self.size, *size[1:]), **kwargs)[self.rows]

    def _multinomial(
        self, func: Any, weights: Tensor, num_samples: int, replacement: bool = False, **kwargs: Any
    ) -> Tensor:
        if weights.dim() == 1:  # one distribution, and one draw for each image
            self._check_rows(func, num_samples)
            drawn: Tensor = func(weights, self.size, replacement, **kwargs)
            return drawn[self.rows]
        self._check_rows(func, len(weights))
        whole = weights.new_ones(
            self.size, weights.shape[1]
        )  # what a row draws does not depend on the others
        whole[self.rows] = weights
        drawn = func(whole, num_samples, replacement, **kwargs)
        return drawn[self.rows]

    def _dropout(
        self, func: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return x
        self._check_rows(func, len(x))
        # the layout in memory says which number belongs to which value
        is_channels_last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=_LAST)
        shape = (self.size, *x.shape[1:]) if func is F.dropout else (self.size, x.shape[1], 1, 1)
        whole = x.new_ones(shape).contiguous(memory_format=_LAST if is_channels_last else _ROWS)
        # a copy: a view would keep the numbers of the whole batch in memory until the backward pass
        kept: Tensor = func(whole, p, True)[self.rows].clone()
        return x * kept

    def _batch_norm(
        self,
        func: Any,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            normalised: Tensor = func(x, running_mean, running_var, weight, bias, False, momentum, eps)
            return normalised
        self._check_rows(func, len(x))
        if self.is_part:
            raise NotImplementedError("batch_norm: the statistics of a part are not those of the batch")
        values = x.float()
        count = self.size * values[0, 0].numel()
        over = [0, *range(2, x.dim())]
        per_channel = (1, -1, *(1 for _ in over[1:]))
        mean = sum_over_processes(values.sum(over)) / count
        centred = values - mean.reshape(per_channel)
        variance = sum_over_processes(centred.square().sum(over)) / count
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean, momentum)
                running_var.lerp_(variance * (count / (count - 1)), momentum)
        result = centred * (variance + eps).rsqrt().reshape(per_channel)
        if weight is not None:
            result = result * weight.reshape(per_channel)
        if bias is not None:
            result = result + bias.reshape(per_channel)
        return result.to(x.dtype)


_LAST, _ROWS = torch.channels_last, torch.contiguous_format
_REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    torch.rand: WholeBatch._draw,
    torch.randn: WholeBatch._draw,
    torch.randint: WholeBatch._draw,
    torch.multinomial: WholeBatch._multinomial,
    F.dropout: WholeBatch._dropout,
    F.dropout2d: WholeBatch._dropout,
    F.batch_norm: WholeBatch._batch_norm,
}
# with modules of which no network here is made
_UNSUPPORTED = {
    torch.bernoulli, torch.normal, torch.rand_like, torch.randint_like, torch.randn_like, torch.randperm,
    Tensor.bernoulli_, Tensor.exponential_, Tensor.normal_, Tensor.uniform_,
    F.alpha_dropout, F.dropout1d, F.dropout3d, F.feature_alpha_dropout, F.rrelu,
}  # fmt: skip


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, as each of them uses the sum."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return _reduced(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient)


def _reduced(x: Tensor) -> Tensor:
    total = x.detach().clone(memory_format=_ROWS)
    try:
        torch.distributed.all_reduce(total)
    except RuntimeError as error:
        raise EndedElsewhere from error
    return total


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with its gradient; must be called in all of them."""
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class RowsOfBatch:
    """Collects what `when_batch_is_complete` is given while the block runs, over all parts of a share.

    Parameters
    ----------
    share
        Which rows this process computes.
    size
        Number of rows of the whole batch.
    """

    def __init__(self, share: Share, size: int) -> None:
        self._share, self._sizes = share, share.sizes(size)
        self._calls: list[tuple[Callable[..., None], list[tuple[Tensor, ...]]]] = []
        self._call_index = 0

    def __enter__(self) -> RowsOfBatch:
        _collecting.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _collecting.remove(self)

    def begin_part(self) -> None:
        """The calls that follow are those of the next part, in the same order as of every part."""
        self._call_index = 0

    def add(self, use: Callable[..., None], rows: tuple[Tensor, ...]) -> None:
        """Keep the rows of a part for a call of `use`."""
        if self._call_index == len(self._calls):
            self._calls.append((use, []))
        self._calls[self._call_index][1].append(rows)
        self._call_index += 1

    @torch.no_grad()
    def complete(self) -> None:
        """Call every `use` with the rows of the whole batch, those of other processes included."""
        for use, parts in self._calls:
            own_rows = (torch.cat(rows) if len(rows) > 1 else rows[0] for rows in zip(*parts, strict=True))
            use(*(self._gathered(rows) for rows in own_rows))

    def _gathered(self, x: Tensor) -> Tensor:
        """The rows of all processes, in the order of the batch; each image may have several."""
        if self._share.count == 1:
            return x
        rows_per_image = len(x) // self._sizes[self._share.index]
        # gloo gathers equal shapes alone
        padded = x.new_zeros((max(self._sizes) * rows_per_image, *x.shape[1:]))
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in self._sizes]
        try:
            torch.distributed.all_gather(parts, padded)
        except RuntimeError as error:
            raise EndedElsewhere from error
        return torch.cat([part[: n * rows_per_image] for part, n in zip(parts, self._sizes, strict=True)])


_collecting: list[RowsOfBatch] = []


def when_batch_is_complete(use: Callable[..., None], *rows: Tensor) -> None:
    """Call a function with rows of all images of the batch, once all of them are computed.

    A loss hands over by it what is to be remembered of a batch beside the gradient: at once where the batch
    is computed as a whole, otherwise when the last part has been computed.

    Parameters
    ----------
    use
        Takes as many tensors as are given here, without gradient.
    rows
        Of the images that are computed now, in their order; each image may have several rows, all images
        equally many.
    """
    own_rows = tuple(x.detach() for x in rows)
    if _collecting:
        _collecting[-1].add(use, own_rows)
    else:
        with torch.no_grad():
            use(*own_rows)

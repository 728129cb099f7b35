"""What is done when memory runs out, with functions that run out of it at a size that is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.oom import BatchSize, run_in_batches

pytestmark = pytest.mark.usefixtures("no_garbage_collection")


def out_of_memory() -> RuntimeError:
    """As the allocator of the CPU says it; CUDA has a class of its own."""
    return RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


class Machine:
    """Has room for so many rows at once; notes the sizes that were tried."""

    def __init__(self, room: int, error: BaseException | None = None) -> None:
        self.room, self.tried = room, list[int]()
        self.error = error or out_of_memory()

    def compute(self, rows: int) -> int:
        self.tried.append(rows)
        if rows > self.room:
            raise self.error
        return rows

    def double(self, rows: Tensor) -> Tensor:
        self.compute(len(rows))
        return 2 * rows


@pytest.mark.parametrize(
    ("start", "room", "tried"), [(8, 8, [8]), (8, 3, [8, 4, 2]), (7, 1, [7, 3, 1]), (1, 1, [1])]
)
def test_the_size_is_halved_until_it_fits(start: int, room: int, tried: list[int]) -> None:
    machine, halved = Machine(room), list[int]()
    size = BatchSize(start, on_halved=halved.append)
    assert size.attempt(machine.compute) == tried[-1]
    assert machine.tried == tried
    assert halved == tried[1:]
    assert size.rows == tried[-1]


def test_the_size_stays_halved() -> None:
    machine = Machine(2)
    size = BatchSize(8)
    size.attempt(machine.compute)
    machine.tried.clear()
    machine.room = 8
    assert size.attempt(machine.compute) == 2
    assert machine.tried == [2]


@pytest.mark.parametrize(
    "error",
    [out_of_memory(), MemoryError(), torch.OutOfMemoryError("CUDA out of memory")],
    ids=["cpu allocator", "python", "cuda"],
)
def test_every_way_to_say_it_is_understood(error: BaseException) -> None:
    assert BatchSize(4).attempt(Machine(1, error).compute) == 1


def test_not_even_one_row_is_said_in_one_line() -> None:
    machine = Machine(0)
    with pytest.raises(BadInput, match="memory: is too small to learn in; close other programs"):
        BatchSize(4, "is too small to learn in").attempt(machine.compute)
    assert machine.tried == [4, 2, 1]


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes"), ValueError("no"), KeyboardInterrupt()]
)
def test_another_error_is_not_taken_for_it(error: BaseException) -> None:
    machine = Machine(0, error)
    with pytest.raises(type(error)) as raised:
        BatchSize(4).attempt(machine.compute)
    assert raised.value is error
    assert machine.tried == [4]


def test_what_failed_is_let_go_before_the_next_attempt() -> None:
    """The error holds the frames in which the large tensors are: they must be gone when less is tried."""
    import weakref

    class Large:
        pass

    kept: list[weakref.ref[Large]] = []
    alive: list[bool] = []

    def compute(rows: int) -> int:
        alive.extend(ref() is not None for ref in kept)
        large = Large()
        kept.append(weakref.ref(large))
        if rows > 1:
            raise out_of_memory()
        return rows

    assert BatchSize(4).attempt(compute) == 1
    assert alive == [False, False, False]


@pytest.mark.parametrize(("at_once", "room"), [(8, 8), (3, 3), (8, 2), (100, 1)])
def test_rows_come_back_whole_and_in_their_order(at_once: int, room: int) -> None:
    rows = torch.arange(20).reshape(10, 2)
    machine = Machine(room)
    assert run_in_batches(machine.double, rows, at_once).equal(2 * rows)
    assert max(n for n in machine.tried if n <= room) <= room


def test_the_parts_may_have_another_shape_than_the_rows() -> None:
    rows = torch.rand(5, 3, 4)
    assert run_in_batches(lambda some: some.sum((1, 2)), rows, 2).equal(rows.sum((1, 2)))


def test_too_little_for_one_row_is_said() -> None:
    with pytest.raises(BadInput, match="memory: is too small for one image; close other programs"):
        run_in_batches(Machine(0).double, torch.zeros(3, 1), 2)

"""Reading, computing and using at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from napari_latentseg.inference.pipeline import computed_ahead

WAIT_S = 10  # for what comes at once, however busy the machine is


def results(pairs: Iterator[tuple[int, int] | None]) -> list[tuple[int, int]]:
    return [pair for pair in pairs if pair is not None]


def test_order_is_kept() -> None:
    assert results(computed_ahead(range(20), lambda n: -n)) == [(n, -n) for n in range(20)]
    assert results(computed_ahead([], lambda n: n)) == []


def test_the_next_is_computed_and_the_one_after_it_read_while_one_is_used() -> None:
    was_read, was_computed = [threading.Event() for _ in range(4)], [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for n in range(4):
            was_read[n].set()
            yield n

    def compute(n: int) -> int:
        was_computed[n].set()
        return n

    pairs = computed_ahead(items(), compute)
    assert next(pair for pair in pairs if pair is not None) == (0, 0)
    assert was_computed[1].wait(WAIT_S)
    assert was_read[2].wait(WAIT_S)
    assert not was_computed[3].is_set()
    pairs.close()


def test_an_error_in_reading_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("cannot be read")

    pairs = filter(None, computed_ahead(items(), lambda n: n))
    assert [next(pairs), next(pairs)] == [(1, 1), (2, 2)]
    with pytest.raises(ValueError, match="cannot be read"):
        next(pairs)


@pytest.mark.parametrize("error", [ValueError, TimeoutError])
def test_an_error_in_computing_is_raised(error: type[Exception]) -> None:
    """TimeoutError as well, which stands for a heartbeat inside."""

    def compute(n: int) -> int:
        raise error("cannot be computed")

    with pytest.raises(error, match="cannot be computed"):
        results(computed_ahead([1], compute))


def test_while_nothing_is_ready_the_caller_can_stop() -> None:
    go_on = threading.Event()
    computed = []

    def compute(n: int) -> int:
        go_on.wait(WAIT_S)
        computed.append(n)
        return n

    pairs = computed_ahead(range(100), compute)
    assert next(pairs) is None
    assert next(pairs) is None
    go_on.set()
    pairs.close()  # waits for the item that is being computed, and for no other
    count = len(computed)
    assert count <= 2
    time.sleep(0.05)
    assert len(computed) == count

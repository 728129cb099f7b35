"""What was there before the first case is left out of garbage collections, until nobody works on the list."""

from __future__ import annotations

import gc

import pytest

from napari_latentseg.widgets._shared.frozen_heap import FrozenHeap


@pytest.fixture(autouse=True)
def nothing_is_frozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_there_is_set_apart_and_released():
    heap = FrozenHeap()
    there = [object() for _ in range(3)], {}
    heap.set_apart()
    assert gc.get_freeze_count() > 1000
    assert not any(known is there for known in gc.get_objects())
    since = [[]]
    assert any(known is since for known in gc.get_objects())
    heap.set_apart()  # with the second case goes what the first has brought
    assert not any(known is since for known in gc.get_objects())
    later = [[]]
    heap.set_apart()
    assert any(known is later for known in gc.get_objects())
    heap.release()
    assert gc.get_freeze_count() == 0


def test_what_other_code_has_set_apart_stays_so():
    gc.freeze()
    heap = FrozenHeap()
    heap.set_apart()
    heap.release()
    assert gc.get_freeze_count() > 1000

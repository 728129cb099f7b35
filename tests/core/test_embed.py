"""A part in its place, with zeros around it."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_latentseg.core.embed import embed


@settings(max_examples=40)
@given(data=st.data(), shape=st.lists(st.integers(1, 7), min_size=2, max_size=3), leading=st.booleans())
def test_lazily_or_not_it_is_the_same(data, shape, leading):
    place = []
    for n in shape:
        start = data.draw(st.integers(0, n - 1))
        place.append(slice(start, data.draw(st.integers(start + 1, n))))
    first = (2,) if leading else ()
    size = (*first, *(s.stop - s.start for s in place))
    part = np.arange(1, np.prod(size) + 1, dtype=np.float32).reshape(size)
    whole = np.zeros((*first, *shape), np.float32)
    whole[(..., *place)] = part
    full = (*first, *shape)
    assert np.array_equal(embed(part, full, place), whole)
    lazy = embed(part, full, place, max_bytes=0)
    assert lazy.dtype == np.float32
    assert np.array_equal(np.asarray(lazy), whole)
    assert np.array_equal(np.asarray(embed(da.from_array(part), full, place)), whole)


def test_zeros_around_a_part_take_no_memory():
    part = np.ones((1, 64, 64), np.float32)
    lazy = embed(part, (1, 40_000, 40_000), (slice(5000, 5064), slice(39_000, 39_064)), max_bytes=2**20)
    assert isinstance(lazy, da.Array)
    assert max(map(max, lazy.chunks)) <= 1024
    assert len(lazy.dask) < 5000  # tasks, of which each costs time: da.pad would make 784,000
    assert np.asarray(lazy[0, 4999:5001, 39_000:39_003]).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_what_fits_is_left_as_it_is():
    part = np.ones((3, 4), np.uint8)
    assert embed(part, (3, 4), (slice(None), slice(None))) is part


@pytest.mark.parametrize("limit", [None, 10**6])
def test_the_whole_is_the_caller_s_own(limit):
    part = np.ones((2, 2), np.uint8)
    whole = embed(part, (4, 4), (slice(1, 3), slice(1, 3)), max_bytes=limit)
    part[:] = 7
    assert whole.sum() == 4

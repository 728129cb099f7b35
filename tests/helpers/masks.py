"""Pairs of masks, random and smooth, for tests of metrics."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Pair = tuple[Mask, Mask]

many = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def pairs(min_dims: int = 1, max_dims: int = 3, max_side: int = 7) -> st.SearchStrategy[Pair]:
    shapes = hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=max_side)
    return shapes.flatmap(lambda s: st.tuples(hnp.arrays(np.bool_, s), hnp.arrays(np.bool_, s)))


def full_pairs(**kwargs: int) -> st.SearchStrategy[Pair]:
    return pairs(**kwargs).filter(lambda pair: bool(pair[0].any() and pair[1].any()))


steps = st.floats(0.1, 10.0)


def blobs(seed: int, shape: tuple[int, ...], *, margin: int = 0) -> Pair:
    """Two overlapping masks of smooth shape."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), 3)
    other = field + 0.5 * gaussian_filter(rng.normal(size=shape), 3)
    clear = np.pad(np.ones([n - 2 * margin for n in shape], dtype=bool), margin)
    return (field > np.quantile(field, 0.7)) & clear, (other > np.quantile(other, 0.75)) & clear

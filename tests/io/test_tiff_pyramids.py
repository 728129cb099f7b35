"""TIFF with several resolutions: all writings of a pyramid give the finest level, lazily and at once."""

from __future__ import annotations

import numpy as np
import pytest
from tests.helpers.tiff import PYRAMIDS

from napari_latentseg.io import read_scan, read_scan_lazy
from napari_latentseg.io.convert import convert


@pytest.mark.parametrize("name", PYRAMIDS)
def test_the_finest_level_is_the_scan(tmp_path, name):
    write, coarser = PYRAMIDS[name]
    expected = write(tmp_path / name)
    eager, lazy = read_scan(tmp_path / name), read_scan_lazy(tmp_path / name)
    for scan in (eager, lazy):
        assert np.array_equal(np.asarray(scan.array), expected)
    assert eager.geometry == lazy.geometry
    assert (len(eager.levels), len(lazy.levels)) == (0, coarser)
    for number, level in enumerate(lazy.levels):
        step = 2 ** (number + 1)
        assert np.array_equal(np.asarray(level), expected[::step, ::step])


@pytest.mark.parametrize("name", PYRAMIDS)
def test_a_pyramid_is_converted(tmp_path, name):
    expected = PYRAMIDS[name][0](tmp_path / name)
    convert(tmp_path / name, tmp_path / "b.nrrd")
    assert np.array_equal(np.asarray(read_scan(tmp_path / "b.nrrd").array), expected)

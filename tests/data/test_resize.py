"""Resizing: the values of torch and of Pillow, in parts as whole, on one thread."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_latentseg.data.resize import resize, resize_labels, resize_rows, source_rows


def by_torch(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None]
    return F.interpolate(tensor, size=shape, mode="bilinear", antialias=True)[0].numpy()


@pytest.mark.parametrize(
    ("source_shape", "shape"),
    [
        ((512, 512), (192, 192)),
        ((192, 192), (512, 512)),
        ((35, 51), (64, 64)),
        ((64, 64), (35, 51)),
        ((600, 500), (224, 224)),
        ((37, 300), (37, 20)),
        ((300, 37), (20, 37)),
        ((37, 20), (90, 20)),
        ((3, 700), (300, 7)),
        ((2, 2), (1000, 3)),
        ((1000, 1200), (64, 72)),
        ((5000, 4), (33, 5)),
        ((700, 3), (699, 4)),
        ((1, 9), (5, 4)),
    ],
)
def test_values_are_those_of_torch(source_shape: tuple[int, int], shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((2, *source_shape), np.float32)
    resized = resize(image, shape)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, by_torch(image, shape), rtol=0, atol=1e-6)


# torch 2.13 antialiases a single column wrongly (all rows are the same), so there are two or more
@settings(max_examples=150, deadline=None)
@given(
    source_shape=st.tuples(st.integers(1, 90), st.integers(2, 90)),
    shape=st.tuples(st.integers(1, 90), st.integers(2, 90)),
    seed=st.integers(0, 1000),
)
def test_any_size_is_that_of_torch(source_shape: tuple[int, int], shape: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).random((1, *source_shape), np.float32)
    np.testing.assert_allclose(resize(image, shape), by_torch(image, shape), rtol=0, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    source_shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    shape=st.tuples(st.integers(1, 200), st.integers(1, 60)),
    data=st.data(),
)
def test_some_rows_are_those_of_the_whole(
    source_shape: tuple[int, int], shape: tuple[int, int], data: st.DataObject
) -> None:
    image = np.random.default_rng(0).random((3, *source_shape), np.float32)
    start = data.draw(st.integers(0, shape[0] - 1))
    rows = slice(start, data.draw(st.integers(start + 1, shape[0])))
    needed = source_rows(rows, source_shape[0], shape[0])
    part = resize_rows(image[:, needed], rows, source_shape, shape)
    np.testing.assert_allclose(part, resize(image, shape)[:, rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 70), (90, 12), (40, 31)])
def test_a_view_is_resized_as_its_copy(shape: tuple[int, int]) -> None:
    """Augmentations are undone as views: turned, flipped, and of one channel that counts as three."""
    image = np.random.default_rng(0).random((2, 40, 31), np.float32)
    for view in (image[:, ::-1], image[:, :, ::-1], np.rot90(image, 1, (1, 2)), image[:, 3:30, 4:20]):
        # not to the last digit: a matrix product may add up a view in another order, as the processor has it
        np.testing.assert_allclose(resize(view, shape), resize(view.copy("C"), shape), rtol=0, atol=1e-6)
    grey = np.broadcast_to(image[:1], (3, 40, 31))
    np.testing.assert_allclose(resize(grey, shape)[2], resize(image[:1], shape)[0], rtol=0, atol=1e-6)


def test_shrinking_takes_every_pixel_into_account() -> None:
    stripes = np.broadcast_to(np.arange(64, dtype=np.float32) % 2, (3, 64, 64))
    small = resize(stripes, (16, 16))
    assert small.shape == (3, 16, 16)
    assert np.abs(small - 0.5).max() < 0.1  # without antialiasing it would be all 0 or all 1
    assert resize(stripes, (64, 64)) is stripes


@pytest.mark.parametrize("width", [1, 3])
def test_a_single_column_keeps_its_rows(width: int) -> None:
    column = np.array([[0.0], [1.0]], dtype=np.float32)
    expected = np.repeat([[0.0], [0.25], [0.75], [1.0]], width, axis=1)
    np.testing.assert_allclose(resize(column, (4, width)), expected, atol=1e-6)


@pytest.mark.skipif(sys.platform == "darwin", reason="Accelerate has rules of its own")
def test_resizing_leaves_the_other_cores_to_the_networks() -> None:
    code = (
        "import time, numpy as np\n"
        "from napari_latentseg.data.resize import resize\n"
        "image = np.ones((3, 1500, 1500), np.float32)\n"
        "shapes = ((500, 500), (2000, 2000))\n"
        "[resize(image, shape) for shape in shapes]\n"
        "process, thread = time.process_time(), time.thread_time()\n"
        "[resize(image, shape) for shape in 5 * shapes]\n"
        "print((time.process_time() - process) / (time.thread_time() - thread))"
    )
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | threads, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1.3


@pytest.mark.parametrize("size", [(6, 8), (24, 32), (3, 4), (5, 11)])
def test_labels_stay_labels(size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (6, 8), dtype=np.uint8)
    found = resize_labels(labels, size)
    assert found.shape == size
    assert found.dtype == np.uint8
    assert set(np.unique(found)) <= set(np.unique(labels))


def test_labels_go_where_their_pixels_are() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (6, 8), dtype=np.uint8)
    assert np.array_equal(resize_labels(labels, (18, 24)), labels.repeat(3, 0).repeat(3, 1))
    assert np.array_equal(resize_labels(labels.repeat(3, 0).repeat(3, 1), (6, 8)), labels)


@pytest.mark.parametrize("shape", [(7, 3), (100, 41), (1, 1), (64, 48)])
def test_labels_are_taken_as_torch_takes_them(shape: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 250, (23, 48), dtype=np.uint8)
    expected = F.interpolate(torch.from_numpy(labels)[None, None].float(), size=shape, mode="nearest-exact")
    assert np.array_equal(resize_labels(labels, shape), expected[0, 0].numpy())

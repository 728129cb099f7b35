"""All of an image is shown when its case is opened, whatever else is open."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.widgets._shared.view import camera_of
from napari_latentseg.widgets.batch.open_result import add_images


def opened(viewer, shape, scale=1.0):
    spacing = (scale,) * len(shape)
    return add_images(viewer, [(np.zeros(shape, np.uint8), {"scale": spacing}, "image")])


def test_a_small_image_after_a_large_one_fills_the_view(viewer):
    opened(viewer, (2000, 3000))
    far = camera_of(viewer).zoom
    opened(viewer, (60, 90))
    camera = camera_of(viewer)
    assert camera.zoom == pytest.approx(far * 2000 / 60, rel=0.05)
    assert camera.center[-2:] == pytest.approx((29.5, 44.5), abs=1)


def test_an_image_of_the_same_place_leaves_the_view(viewer):
    opened(viewer, (5, 60, 90))
    camera_of(viewer).zoom, camera_of(viewer).center = 40.0, (0, 10, 12)
    opened(viewer, (5, 60, 90))
    assert camera_of(viewer).zoom == pytest.approx(40)
    assert camera_of(viewer).center[-2:] == pytest.approx((10, 12))


def test_a_volume_beside_an_image_is_shown_as_a_whole(viewer):
    opened(viewer, (400, 400))
    opened(viewer, (4, 50, 60), scale=0.5)
    assert camera_of(viewer).center[-2:] == pytest.approx((12.25, 14.75), abs=0.6)

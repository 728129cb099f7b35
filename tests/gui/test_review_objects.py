"""The layer of numbered objects."""

from __future__ import annotations

import numpy as np
from tests.helpers.made import made

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.measure import measure
from napari_latentseg.widgets.review.objects import label_objects

ORGAN = ClassInfo(label=2, name="organ", color="#ff0000", includes=("tumour",))
TUMOUR = ClassInfo(label=1, name="tumour", color="#00ff00")


def test_a_tumour_has_its_own_number_in_the_organ_that_it_cuts_in_two():
    samples = np.zeros((3, 2, 2, 12, 16))
    samples[:, 1, :, 1:11, 1:9] = 0.9
    samples[:, 1, 0, 2:4, 12:15] = 0.9
    samples[:, 0, :, 5:7, 1:9] = 0.9
    found = made(samples, Geometry.from_spacing("zyx", (1.0,) * 3, "mm"), classes=(TUMOUR, ORGAN))
    objects, rows = label_objects(found.mask, measure(found), found.classes)
    assert [(row.name, row.object_number) for row in rows] == [("tumour", 1), ("organ", 1), ("organ", 2)]
    assert np.array_equal(objects == 1, found.mask == 1)
    assert np.array_equal(objects >= 2, found.mask == 2)
    assert (objects[:, 1:11, 1:9] > 0).all()
    assert set(np.unique(objects[0, 2:4, 12:15])) == {3}
    assert rows[1].value == np.count_nonzero(objects == 2) + rows[0].value

"""The sizes of a mask that a person has changed stand beside those of the model's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.made import balls, classes_of, made

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.person_mask import compare_masks, with_person_mask
from napari_latentseg.measure import class_sizes, measure, measurement_table

GEOMETRY = Geometry.from_spacing("zyx", (2.0, 1.0, 1.0), "mm")
SHAPE = (8, 30, 30)


def result(axes="zyx", geometry=GEOMETRY, shape=SHAPE):
    base = balls(shape[-3:], (2.0, 1.0, 1.0), ((8, 15, 15), 6))
    samples = np.stack([np.broadcast_to(base, shape) * p for p in (0.9, 0.8, 0.7, 0.95)])[:, None]
    return made(samples, geometry, axes, classes_of("lesion"))


def corrected(found, mask, approved=None, added=()):
    return with_person_mask(found, mask, compare_masks(mask, found.mask, approved or {}), added)


def test_sizes_of_both_and_whose_interval_it_is():
    found = result()
    mask = found.mask.copy()
    mask[3, 0, :10] = 1
    model, (yours, *objects) = measure(found)[0], measure(corrected(found, mask))
    assert (model.mask_state, model.is_corrected) == ("model", False)
    assert yours.mask_state == "corrected"
    assert yours.model_value == model.value
    assert yours.value == pytest.approx(model.value + 20)  # ten voxels of 2 mm3
    assert (yours.low, yours.high) == (model.low, model.high)
    assert yours.describe().startswith(f"lesion: model {model.size_text}, yours {yours.size_text}")
    assert "(model's 90 %: " in yours.describe()
    assert class_sizes(corrected(found, mask))[0].describe() == yours.describe()
    assert all(not row.is_corrected and row.mask_state == "corrected" for row in objects)
    table = measurement_table([yours, *objects])
    assert list(table["mask"]) == ["corrected"] * (1 + len(objects))
    assert table["model's volume (mm3)"][0] == model.value


def test_an_approved_mask_without_changes_is_the_models_size():
    found = result()
    approved = corrected(found, found.mask.copy(), dict(enumerate(found.mask)))
    row = measure(approved)[0]
    assert (row.mask_state, row.is_corrected) == ("approved", False)
    assert row.describe() == replace(measure(found)[0], mask_state="approved").describe()


def test_a_class_that_a_person_added_has_its_name_and_no_interval():
    found = result()
    mask = found.mask.copy()
    mask[0, :2, :2] = 7
    rows = measure(corrected(found, mask, added=[ClassInfo(label=7, name="vessel", color="#00ff00")]))
    (vessel,) = [row for row in rows if row.label == 7 and not row.object_number]
    assert (vessel.name, vessel.value, vessel.low, vessel.model_value) == ("vessel", 8.0, None, None)


def test_each_point_in_time_has_its_own():
    geometry = Geometry.from_spacing("tzyx", (1.0, 2.0, 1.0, 1.0), "mm")
    found = result("tzyx", geometry, (3, *SHAPE))
    mask = found.mask.copy()
    mask[1, 3, 0, :10] = 1
    rows = [row for row in measure(corrected(found, mask), objects=False) if row.name == "lesion"]
    assert [row.value - row.model_value for row in rows] == [0, 20, 0]

"""Prompts: what they may be, and the slice and image that they belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from napari_latentseg.core.prompts import Prompts, read_prompts
from napari_latentseg.errors import BadInput


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "nothing points at a structure"),
        ({"negative": [(1, 1)]}, "nothing points at a structure"),
        ({"positive": [(1, 1), (2, 1, 1)]}, "are mixed"),
        ({"positive": [(1, 1)], "boxes": [(2, 0, 0, 9, 9)]}, "are mixed"),
        ({"positive": [(1, 1, 1)], "negative": [(2, 1, 1)]}, "slice 2 has points outside alone"),
        ({"boxes": [(5, 5, 5, 9)]}, "a box has no size"),
        ({"positive": [(5, 5)], "negative": [(5.2, 4.9)]}, r"the voxel \(5, 5\) is both inside and outside"),
        ({"positive": [(1,)]}, "at least 2"),
        ({"positive": [(float("nan"), 1)]}, "finite"),
        ({"positive": [(True, 1)]}, "not true or false"),
        ({"boxes": [(False, 0, 9, 9)]}, "not true or false"),
        ({"positive": [(5, 5)], "size": 0}, "the size of the structure is under a voxel"),
        ({"positive": [(5, 5)], "size": float("inf")}, "finite"),
        ({"positive": [(5, 5)], "boxes": [(2, 2, 9, 9)], "size": 8}, "a box says how large"),
        ({"size": 8}, "nothing points at a structure"),
        ({"positive": [(5, 5)], "order": "+-"}, r"the order '\+-' is of other points"),
        ({"positive": [(5, 5)], "order": "in"}, "the order 'in' is of other points"),
    ],
)
def test_what_is_no_prompt_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Prompts(**fields)


def test_points_keep_their_order() -> None:
    clicks = [
        ((3.0, 10.0, 20.0), True),
        ((5.0, 1.0, 1.0), True),
        ((3.0, 2.0, 2.0), False),
        ((3.0, 9.0, 9.0), True),
    ]
    prompts = Prompts.from_points(clicks)
    assert prompts.order == "++-+"
    assert prompts.points == tuple(clicks)
    assert Prompts.from_points([(np.array(point), inside) for point, inside in clicks]) == prompts
    on_slice = prompts.of_plane(3).on_plane((8, 50, 60)).moved(1, 2)
    assert on_slice.points == (((11, 22), True), ((3, 4), False), ((10, 11), True))
    assert Prompts.model_validate_json(prompts.model_dump_json()) == prompts
    assert Prompts.from_points(clicks[:3]) == Prompts(
        positive=[clicks[0][0], clicks[1][0]], negative=[clicks[2][0]]
    )


def test_the_slice_is_dropped_in_its_plane() -> None:
    prompts = Prompts(positive=[(3, 10, 20)], negative=[(3, 0, 0)], boxes=[(3, 30, 40, 5, 6)])
    assert prompts.plane == 3
    flat = prompts.on_plane((8, 50, 60))
    assert flat.plane is None
    assert flat == Prompts(positive=[(10, 20)], negative=[(0, 0)], boxes=[(5, 6, 30, 40)])


@pytest.mark.parametrize(
    ("prompts", "shape", "why"),
    [
        (Prompts(positive=[(10, 20)]), (8, 50, 60), "which is a volume"),
        (Prompts(positive=[(1, 10, 20)]), (50, 60), "which is a single image"),
        (Prompts(positive=[(8, 10, 20)]), (8, 50, 60), "are on slice 8, and the volume has slices 0 to 7"),
        (Prompts(positive=[(1, 9, 9), (4, 9, 9)]), (8, 50, 60), r"are on several slices \(1, 4\)"),
        (Prompts(positive=[(50, 20)]), (50, 60), r"the point \(50, 20\) is outside the image of 50 x 60"),
        (Prompts(positive=[(5, 5)], negative=[(-1, 5)]), (50, 60), r"the point \(-1, 5\) is outside"),
        (Prompts(boxes=[(60, 5, 80, 20)]), (50, 60), "a box is outside the image"),
        (Prompts(positive=[(5, 5)], size=61), (50, 60), "a structure of 61 pixels is larger than the slice"),
    ],
)
def test_prompts_of_another_image_are_refused(prompts: Prompts, shape: tuple[int, ...], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        prompts.on_plane(shape)


def test_each_slice_has_its_own() -> None:
    prompts = Prompts(positive=[(7, 1, 1), (3, 10, 20)], negative=[(3, 0, 0)], boxes=[(7, 30, 40, 5, 6)])
    assert (prompts.planes, prompts.plane) == ((3, 7), 3)
    assert prompts.of_plane(3) == Prompts(positive=[(3, 10, 20)], negative=[(3, 0, 0)])
    assert prompts.of_plane(7) == Prompts(positive=[(7, 1, 1)], boxes=[(7, 30, 40, 5, 6)])
    assert Prompts(positive=[(1, 1)]).planes == ()


def test_a_box_is_cut_at_the_border() -> None:
    (box,) = Prompts(boxes=[(-20, 10, 30, 90)]).on_plane((50, 60)).boxes
    assert box == (-0.5, 10, 30, 59.5)


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    prompts = Prompts(positive=[(40, 52.5)], boxes=[(1, 2, 30, 40)])
    path = tmp_path / "prompts.json"
    path.write_text(prompts.model_dump_json(), "utf-8")
    assert read_prompts(path) == prompts


def test_a_file_with_the_mark_that_editors_of_windows_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('{"positive": [[40, 52]]}', "utf-8-sig")
    assert read_prompts(path) == Prompts(positive=[(40, 52)])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        (json.dumps({"positive": [[1, "a"]]}), "positive"),
        (json.dumps({"points": [[1, 1]]}), "points"),
        (json.dumps([1]), "prompts.json"),
        ("[" * 2_000_000, "is too large"),
    ],
)
def test_a_file_of_something_else_is_one_line(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(content, "utf-8")
    with pytest.raises(BadInput, match=why) as refused:
        read_prompts(path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"lost\.json: cannot be read"):
        read_prompts(tmp_path / "lost.json")


def test_the_size_stays_with_the_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text('{"positive": [[3, 20, 30], [5, 21, 30]], "size": 12}')
    prompts = read_prompts(tmp_path / "prompts.json")
    assert prompts.size == 12
    on_slice = prompts.of_plane(5).on_plane((8, 50, 60)).moved(-10, -5)
    assert on_slice == Prompts(positive=[(11, 25)], size=12)
    assert Prompts.model_validate_json(prompts.model_dump_json()) == prompts

"""The page of a comparison of readers: which slices are drawn, and what is drawn in them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.made import classes_of, made

from napari_latentseg import Geometry, Scan, compare_readers
from napari_latentseg.evaluation.reader_comparison import ReaderComparison
from napari_latentseg.report.readers_page import write_readers_page
from napari_latentseg.report.readers_pictures import CONSENSUS_COLOR, READER_COLORS, draw_slices

GEOMETRY = Geometry.from_spacing("zyx", (3.0, 1.0, 1.0), "mm")


def readers() -> list[np.ndarray]:
    """Two readers who differ most in slice 3, less in slice 5, and nowhere else."""
    a = np.zeros((6, 60, 50), np.uint8)
    a[1:6, 20:40, 15:35] = 1
    b = a.copy()
    b[2, 20:40, 15:25] = 0
    b[4, 20:40, 15:18] = 0
    return [a, b]


def panels(png: bytes, count: int) -> list[np.ndarray]:
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    width = (picture.shape[1] - 8 * (count - 1)) // count
    return [picture[:, i * (width + 8) : i * (width + 8) + width] for i in range(count)]


def has_color(panel: np.ndarray, color: str) -> bool:
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(panel.astype(int) - rgb).max(axis=-1) < 8).any())


def with_model() -> ReaderComparison:
    result = made(np.stack([mask[None] for mask in readers()] * 2).astype(np.float32), GEOMETRY)
    return compare_readers(readers(), geometry=GEOMETRY, result=result)


def test_the_slices_of_largest_disagreement_come_first() -> None:
    pictures = draw_slices(compare_readers(readers(), geometry=GEOMETRY), None)
    assert [picture.title for picture in pictures] == ["Slice 3 of 6", "Slice 5 of 6"]
    assert [picture.disagreement for picture in pictures] == [20 * 10 / 4, 20 * 3 / 4]


def test_each_reader_has_an_outline_and_the_variance_its_own_panel() -> None:
    (first, _) = draw_slices(with_model(), None)
    assert first.variance == pytest.approx(first.disagreement)  # the samples are the readers' masks
    image, outlines, disagreement, variance = panels(first.panels.png, 4)
    for color in (*READER_COLORS[:2], CONSENSUS_COLOR):
        assert has_color(outlines, color)
    assert not has_color(image, READER_COLORS[0])
    assert np.array_equal(disagreement, variance)  # one scale
    assert not np.array_equal(disagreement, image)


def test_where_all_agree_a_slice_with_the_mask_is_drawn() -> None:
    masks = [readers()[0]] * 2
    pictures = draw_slices(compare_readers(masks, geometry=GEOMETRY), None)
    assert pictures[0].title == "Slice 2 of 6"
    assert pictures[0].disagreement == 0


def test_the_page_says_what_the_variance_is_not_and_names_no_file(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (6, 60, 50, 3), np.uint8)
    path = write_readers_page(tmp_path / "page.html", with_model(), Scan(image, "zyxc", GEOMETRY))
    text = path.read_text("utf-8")
    assert "The variance of a model is not the disagreement of readers" in text
    assert text.count("data:image/png") == 2
    assert "<script" not in text
    assert "made 1 beside the readers" in text


def test_several_classes_have_a_table_each(tmp_path: Path) -> None:
    masks = [mask * 2 for mask in readers()]
    for mask in masks:
        mask[1, :5, :5] = 1
    compared = compare_readers(masks, geometry=GEOMETRY, classes=classes_of("liver", "<tumour>"))
    text = write_readers_page(tmp_path / "page.html", compared, None).read_text("utf-8")
    assert "<h3>liver</h3>" in text
    assert "<h3>&lt;tumour&gt;</h3>" in text

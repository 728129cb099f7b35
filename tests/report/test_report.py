"""The page: what is on it, what is not, and that nothing in it runs."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.made import balls, classes_of, made

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.reliability import Reliability
from napari_latentseg.measure import measure
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.report import check_report_replaceable, make_report, write_report
from napari_latentseg.review import rank

SHAPE, SPACING = (6, 40, 60), (3.0, 1.0, 0.5)
GEOMETRY = Geometry.from_matrix(np.diag([*SPACING, 1]), ("mm",) * 3, tuple("zyx"), "LPS")
EVIL = "<script>alert(1)</script>"


def found(*names: str, samples: int = 5, source: str = "augment"):
    each = [
        [0.9 * balls(SHAPE, SPACING, ((6.0, 15 + 8 * k, 12.0), 7 + i % 2)) for k in range(max(1, len(names)))]
        for i in range(samples)
    ]
    return made(np.stack(each), GEOMETRY, classes=classes_of(*(names or ("lesion",))), source=source)


def image() -> Scan:
    values = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    return Scan(values, "zyx", GEOMETRY, "MR", source=Path("/home/Mustermann_Max.nii.gz"))


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


def page_of(path: Path) -> _Page:
    return _Page(path.read_text("utf-8"))


def pictures(page: _Page) -> list[Image.Image]:
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    return [
        Image.open(io.BytesIO(base64.b64decode(s.removeprefix("data:image/png;base64,")))) for s in sources
    ]


@pytest.fixture
def card(tiny_model_folder: Path) -> ModelCard:
    curve = Reliability(
        predicted=(0.02, 0.5, 0.97), observed=(0.01, 0.4, 0.99), counts=(9, 3, 5), ece=0.02, ece_unsure=0.1,
        images=12, samples=5, source="augment", data="made images",
    )  # fmt: skip
    return read_card(tiny_model_folder).model_copy(update={"reliability": curve})


def test_what_is_on_it(tmp_path: Path, card: ModelCard):
    result = found()
    path = make_report(result, image(), card, tmp_path / "new" / "a.html")
    page = page_of(path)
    for text in (
        "For research. Not a medical device.", "A tiny model", "made, version 1", "5 samples from flips",
        "lesion", "90\N{NO-BREAK SPACE}% interval", "A small variance does not prove the mask right",
        "made images",
        "calibration error 0.020",
        "about x", "mm (LPS)", '"sha256"',
    ):  # fmt: skip
        assert text in page.words, text
    (whole, *_) = measure(result)
    assert whole.size_text in page.words
    shown = pictures(page)
    assert len(shown) == min(3, len(rank(result)))
    for picture in shown:
        width, height = picture.size
        # three panels, as wide as the plane is in mm: 30 x 40
        assert (width - 16) / 3 / height == pytest.approx(30 / 40, rel=0.02)
        panels = [
            np.asarray(picture)[:, i * (width - 16) // 3 + i * 8 :][:, : (width - 16) // 3] for i in range(3)
        ]
        assert not np.array_equal(panels[0], panels[1])  # the outline
        assert not np.array_equal(panels[0], panels[2])  # the doubt
    assert page.tags.count("polyline") == 2


def test_the_outline_lies_around_the_mask(tmp_path: Path):
    result = found()
    result = replace(result, classes=tuple(c.model_copy(update={"color": "#00ff00"}) for c in result.classes))
    first = rank(result)[0]
    dark = Scan(np.zeros(SHAPE, np.uint8), "zyx", GEOMETRY)
    (picture, *_) = pictures(page_of(make_report(result, dark, None, tmp_path / "a.html")))
    width = (picture.width - 16) // 3
    panel = np.asarray(picture)[:, width + 8 : 2 * width + 8]
    rows, columns = np.nonzero((panel[..., 1] > 200) & (panel[..., 0] < 90))
    inside = np.argwhere(result.mask[first.index] == 1)
    scale = picture.height / SHAPE[1], width / SHAPE[2]
    for drawn, axis in ((rows, 0), (columns, 1)):
        low, high = inside[:, axis].min(), inside[:, axis].max() + 1
        assert (drawn.min(), drawn.max()) == pytest.approx((low * scale[axis], high * scale[axis]), abs=4)


def test_the_whole_image_is_shown_where_the_regions_are_cut_out(tmp_path: Path):
    shape = (1, 400, 500)
    ball = balls(shape, (1.0, 1.0, 1.0), ((0, 100, 120), 12))
    samples = np.stack([np.where(ball, p, 0.02) for p in (0.4, 0.7, 0.9)])[:, None]
    result = made(samples[:, :, 0], Geometry.from_spacing("yx", (1.0, 1.0), "mm"), "yx")
    page = page_of(make_report(result, None, None, tmp_path / "a.html"))
    overview, *strips = pictures(page)
    assert len(strips) == 1
    assert "The image, whole" in page.words
    half = (overview.width - 8) // 2
    assert half / overview.height == pytest.approx(500 / 400, rel=0.02)
    left, right = (np.asarray(overview)[:, a : a + half].astype(int) for a in (0, half + 8))
    rows, columns = np.nonzero((left != right).any(axis=2))
    assert rows.mean() / overview.height == pytest.approx(100 / 400, abs=0.02)
    assert columns.mean() / half == pytest.approx(120 / 500, abs=0.02)


def test_a_small_image_is_not_shown_twice(tmp_path: Path):
    page = page_of(make_report(found(), image(), None, tmp_path / "a.html"))
    assert "whole" not in page.words


def test_nothing_in_it_runs_or_is_fetched(tmp_path: Path, card: ModelCard):
    result = found(EVIL, '"onload="x')
    evil = card.model_copy(update={"title": EVIL})
    page = page_of(make_report(result, image(), evil, tmp_path / "a.html", note=f"{EVIL}\n<img src=x>"))
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.tags)
    assert EVIL in page.words  # as text
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), tag
        if name in ("src", "href", "srcset", "data", "action"):
            assert value.startswith("data:image/png;base64,")
    policy = [v for t, n, v in page.attributes if (t, n) == ("meta", "content")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert "url(" not in page.words
    assert "@import" not in page.words


def test_no_name_of_a_file_is_in_it(tmp_path: Path, card: ModelCard):
    result = replace(
        found(), source=Path("/home/Mustermann_Max.nii.gz"), properties={"descrip": "Mustermann"}
    )
    path = make_report(result, image(), card, tmp_path / "a.html")
    assert "Mustermann" not in path.read_text("utf-8")
    assert "Case 7" in page_of(make_report(result, image(), card, tmp_path / "b.html", note="Case 7")).words


def test_one_answer_says_that_there_is_no_variance(tmp_path: Path):
    result = found(samples=1, source="none")
    graded = replace(result, mean=np.clip(result.mean, 0.1, 0.8))
    page = page_of(make_report(graded, None, None, tmp_path / "a.html"))
    assert "There is no variance here" in page.words
    assert "No reliability curve" in page.words
    assert "min(p, 1 - p)" in page.words
    assert "the mean probability; the outline" in page.words
    assert "of 1 samples" not in page.words


def test_all_yes_or_no_has_no_uncertain_slices(tmp_path: Path):
    result = found(samples=1, source="none")
    hard = replace(result, mean=(result.mean > 0.5).astype(np.float32))
    page = page_of(make_report(hard, image(), None, tmp_path / "a.html"))
    assert "No uncertain slice was found" in page.words
    assert len(pictures(page)) == 1  # the whole slice


def test_a_single_plane_in_colours(tmp_path: Path):
    samples = np.zeros((3, 1, 300, 400))
    for i in range(3):
        samples[i, 0, 100:130, 200 : 230 + i] = 1
    result = made(samples, Geometry.from_spacing("yx"), "yx")
    colours = Scan(np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8), "yxc", result.geometry)
    page = page_of(make_report(result, colours, None, tmp_path / "a.html"))
    whole, picture = pictures(page)
    assert whole.mode == picture.mode == "RGB"
    assert "a part of the image" in page.words
    assert "pixels" in page.words


def test_what_was_done_to_the_mask_is_told(tmp_path: Path):
    result = found()
    changes = {"cleanup": PostProcess(smallest=3, keep_largest=True), "box": (2, 3, 40, 50)}
    mended = replace(result, record=result.record.model_copy(update=changes))
    words = page_of(make_report(mended, None, None, tmp_path / "a.html")).words
    assert "objects below 3 mm³ dropped, largest object kept" in words
    assert "samples behind the intervals were not" in words
    assert "rows 3 to 40, columns 4 to 50" in words
    without = page_of(make_report(result, None, None, tmp_path / "b.html")).words.lower()
    assert "post-process" in words.lower()
    assert "post-process" not in without


def test_many_rows_are_cut_and_said_so(tmp_path: Path):
    mask = np.zeros((1, 40, 40))
    mask[0, ::4, ::4] = 1
    result = made(np.stack([mask] * 3), Geometry.from_spacing("yx"), "yx")
    page = page_of(make_report(result, None, None, tmp_path / "a.html"))
    assert page.tags.count("tr") == 1 + 1 + 6
    assert "94 further rows" in page.words


def test_what_is_refused(tmp_path: Path):
    result = found()
    with pytest.raises(BadInput, match=r"does not end in \.html"):
        make_report(result, None, None, tmp_path / "a.pdf")
    (tmp_path / "b.html").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        make_report(result, None, None, tmp_path / "b.html")
    other = Scan(np.zeros((3, 3), np.uint8), "yx", Geometry.from_spacing("yx"))
    with pytest.raises(BadInput, match="image: has shape"):
        write_report(tmp_path / "c.html", result, other, [], [], None)
    assert [p.name for p in tmp_path.iterdir()] == ["b.html"]


def test_a_failure_leaves_the_earlier_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = make_report(found(), None, None, tmp_path / "a.html")
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises((BadInput, OSError)):
        make_report(found(), None, None, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_a_report_that_a_person_changed_is_not_replaced(tmp_path: Path):
    path, result = tmp_path / "r.html", found("lesion")
    sha256 = result.record.input.sha256
    check_report_replaceable(path, sha256)
    make_report(result, None, None, path, note="first line\rsecond")
    check_report_replaceable(path, sha256)
    content = path.read_bytes()
    for changed in (
        content.replace(b"second", b"2nd"),
        content + b"\n",
        content[:-60],
        content + b"<p>Dr A</p>",
    ):
        path.write_bytes(changed)
        with pytest.raises(BadInput, match="was changed after it was written"):
            check_report_replaceable(path, sha256)
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    check_report_replaceable(path, sha256)


def test_it_is_small_enough_to_send(tmp_path: Path):
    assert make_report(found(), image(), None, tmp_path / "a.html").stat().st_size < 2e6
    text = (tmp_path / "a.html").read_text("utf-8")
    assert re.search(r"@page \{ size: A4", text)

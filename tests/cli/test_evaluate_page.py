"""`evaluate` with its page, its intervals, and beside another model."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from napari_latentseg import api
from napari_latentseg.inference.predictor import Predictor

Cli = Callable[..., Any]


class Page(HTMLParser):
    """The figures of a page by their keys, its tags, and its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.figures: dict[str, str] = {}
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self._key = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self._key = values.get("data-figure") or ""
        if tag == "img":
            self.sources.append(values["src"] or "")
        for name, value in values.items():
            assert not name.startswith("on")
            assert not re.match(r"https?:", value or "") or name == "xmlns"

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._key:
            self.figures[self._key] = data
            self._key = ""


def at(report: Any, key: str) -> Any:
    """The figure of a report's JSON that a key leads to."""
    for part in key.split("."):
        report = report[int(part)] if isinstance(report, list) else report[part]
    return report


@pytest.fixture(scope="module")
def data(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_ellipses(tmp_path_factory.mktemp("page") / "data", 6)
    for reader in (1, 2):
        (folder / f"masks_r{reader}").mkdir()
        for path in (folder / "masks").iterdir():
            Image.fromarray(np.roll(np.asarray(Image.open(path)), 2 * reader, axis=1)).save(
                folder / f"masks_r{reader}" / path.name
            )
    return folder


@pytest.fixture(scope="module")
def other(make_tiny_model: Callable[..., Path]) -> Path:
    return make_tiny_model("other-threshold", threshold=0.45, default_samples=2)


@pytest.fixture
def evaluated(cli: Cli, tiny_model_folder: Path, data: Path) -> Callable[..., Any]:
    return lambda *options: cli(
        "evaluate", "-m", tiny_model_folder, "--data", data, "--device", "cpu", *options
    )


def test_the_page_has_the_figures_of_the_json(
    evaluated: Callable[..., Any], other: Path, tmp_path: Path
) -> None:
    page, out = tmp_path / "page.html", tmp_path / "r.json"
    ended = evaluated("--report", page, "--out", out, "--against", other, "--readers", "auto")
    assert (ended.code, ended.errors) == (0, [])
    report, parsed = json.loads(out.read_text("utf-8")), Page(page)
    expected = {f"{part}.{score}" for part in ("mean", "median") for score in ("dsc", "iou", "hd95")}
    expected |= {f"images.{i}.dsc" for i in range(6)} | {"calibration.brier", "calibration.reliability.ece"}
    expected |= {"calibration.reliability.ece_unsure", "calibration.risk_coverage.area"}
    expected |= {"paired.dsc.p_value", "paired.dsc.mean_difference", "paired.hd95.better"}
    expected |= {"readers.mean.ged2", "readers.mean.matched_iou", "intervals.readers.ged2"}
    assert expected <= set(parsed.figures)
    for key, text in parsed.figures.items():
        value = at(report, key)
        if isinstance(value, list):
            assert [float(end) for end in text.split(" to ")] == pytest.approx(value, abs=0.06), key
        elif value is None:
            assert text in ("-", "none"), key
        elif text.startswith("<"):
            assert value < 0.001
        else:
            number, _, interval = text.partition(" (")
            digits = len(number.partition(".")[2])
            assert float(number) == pytest.approx(value, abs=0.51 * 10**-digits), key
            if interval:
                ends = at(report, f"intervals.{key}")
                assert [float(end) for end in interval.rstrip(")").split(" to ")] == pytest.approx(
                    ends, abs=0.51 * 10**-digits
                ), key
    names = re.findall(r"case_\d(?=<)|case_\d", parsed.words[parsed.words.index("All images") :])
    order = sorted(report["images"], key=lambda image: image["dsc"])
    assert names[:6] == [image["name"] for image in order]


def test_the_page_stands_by_itself(evaluated: Callable[..., Any], tmp_path: Path) -> None:
    page = tmp_path / "new folder" / "page.html"
    ended = evaluated("--report", page)
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == str(page)
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert parsed.tags.count("svg") == 3
    assert len(parsed.sources) == 3
    for source in parsed.sources:
        kind, _, coded = source.partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(coded))).width > 4 * 250
    for word in ("Best: case_", "Median: case_", "Worst: case_", "4 from augment", "Not a medical device"):
        assert word in parsed.words
    assert "computed by" in parsed.words
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]


def test_calibration_is_that_of_the_results(tiny_model_folder: Path, data: Path, tmp_path: Path) -> None:
    report = api.evaluate(tiny_model_folder, data, device="cpu", report=tmp_path / "p.html")
    squares, confidence = [], []
    for number in range(6):
        result = api.segment(data / "images" / f"case_{number}.png", tiny_model_folder, device="cpu")
        truth = np.asarray(Image.open(data / "masks" / f"case_{number}.png")) > 0
        squares.append((result.mean[0].astype(float) - truth) ** 2)
        mask = result.mask > 0
        inside = result.mean[0][mask].sum()
        confidence.append(2 * inside / (result.mean[0].sum() + mask.sum()) if mask.any() else 0)
    assert report.calibration is not None
    assert report.calibration.brier == pytest.approx(np.mean(squares), abs=1e-4)
    assert report.calibration.confidence == pytest.approx(confidence, abs=1e-3)
    assert api.evaluate(tiny_model_folder, data, device="cpu").calibration is None


def test_intervals_are_said_and_in_the_json(evaluated: Callable[..., Any]) -> None:
    lines = evaluated().out.splitlines()
    report = json.loads(evaluated("--json").out)
    dsc = np.array([image["dsc"] for image in report["images"]])
    draws = np.random.default_rng(0).integers(6, size=(10_000, 6))
    low, high = np.percentile(dsc[draws].mean(axis=1), [2.5, 97.5])
    assert report["intervals"]["mean"]["dsc"] == pytest.approx([low, high])
    assert report["median"]["dsc"] == pytest.approx(np.median(dsc))
    assert lines[1].startswith(f"  95 % intervals over 6 images: Dice {low:.4f} to {high:.4f}  IoU ")
    assert lines[2].startswith(f"  median Dice {np.median(dsc):.4f} (")


def test_patients_are_drawn_with_their_images(evaluated: Callable[..., Any]) -> None:
    report = json.loads(evaluated("--patients", "^(case_[0-2]|case_)", "--json").out)
    assert (report["intervals"]["unit"], report["intervals"]["units"]) == ("patient", 4)
    assert "over 4 patients" in evaluated("--patients", "^(case_[0-2]|case_)").out
    in_part = evaluated("--patients", "^(case)_[0-2]").out
    assert "the pattern of patients matches 3 of 6 names; each of the other images counts" in in_part


def test_two_models_are_compared_image_by_image(
    evaluated: Callable[..., Any], tiny_model_folder: Path, other: Path, data: Path
) -> None:
    paired = json.loads(evaluated("--against", other, "--json").out)["paired"]
    ours = api.evaluate(tiny_model_folder, data, device="cpu")
    theirs = api.evaluate(other, data, device="cpu")
    assert (theirs.threshold, theirs.samples) == (0.45, 2)
    assert (paired["threshold"], paired["samples"]) == (0.45, 2)
    a, b = (np.array([image.dsc for image in report.images]) for report in (ours, theirs))
    assert paired["against_dsc"] == pytest.approx(b.tolist())
    assert paired["dsc"]["mean_difference"] == pytest.approx((a - b).mean())
    assert paired["dsc"]["p_value"] == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue)
    out = evaluated("--against", other).out
    assert re.search(r"against other-threshold .*\(2 samples from augment; .*better in \d, worse in \d", out)


def test_an_earlier_evaluation_is_as_good_as_its_model(
    evaluated: Callable[..., Any], cli: Cli, other: Path, data: Path, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier.json"
    assert cli("evaluate", "-m", other, "--data", data, "--device", "cpu", "--out", earlier).code == 0
    of_file, of_model = (
        json.loads(evaluated("--against", against, "--json").out)["paired"] for against in (earlier, other)
    )
    assert of_file == of_model


def test_threshold_and_precision_are_those_of_the_model(
    other: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    start = Predictor.__init__

    def keep(self: Any, model: Any, device: str, precision: str, *more: Any, **others: Any) -> None:
        asked.append(precision)
        start(self, model, device, precision, *more, **others)

    monkeypatch.setattr(Predictor, "__init__", keep)
    report = api.evaluate(other, data, device="cpu")
    assert report.threshold == 0.45
    for number, image in enumerate(report.images):
        used = api.segment(data / "images" / f"case_{number}.png", other, device="cpu")
        truth = np.asarray(Image.open(data / "masks" / f"case_{number}.png")) > 0
        mask = used.mask > 0
        assert used.record.precision == report.precision
        assert image.dsc == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()), abs=0.005)
    api.evaluate(other, data, device="cpu", protocol="gms")
    api.evaluate(other, data, device="cpu", precision="float32", threshold=0.3)
    assert (asked[0], asked[-2:]) == ("auto", ["float32", "float32"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--report", "page.pdf"), "page.pdf: does not end in .html or .htm"),
        (("--against", "lost-model"), "no model 'lost-model'"),
        (("--against", "lost.json"), "lost.json: cannot be read"),
        (("--patients", "case"), "patients: 'case' needs parentheses"),
        (("--patients", "("), "patients: '(' is not a regular expression"),
        (("--patients", "^(patient)"), "patients: '^(patient)' finds no patient in case_0"),
        (("--reconstruction", "--report", "p.html"), "reconstruction: gives no scores of images"),
    ],
)
def test_what_is_impossible_is_one_line_and_no_file(
    refused: Callable[..., str],
    tiny_model_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused("evaluate", "-m", tiny_model_folder, "--data", data, "--device", "cpu", *options)
    assert why in message
    assert list(tmp_path.iterdir()) == []


def test_other_images_are_refused_before_any_is_scored(
    refused: Callable[..., str],
    evaluated: Callable[..., Any],
    tiny_model_folder: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    earlier = tmp_path / "earlier.json"
    assert evaluated("--out", earlier).code == 0
    report = json.loads(earlier.read_text("utf-8"))
    arguments = ["evaluate", "-m", tiny_model_folder, "--data", data, "--device", "cpu", "--against", earlier]
    page = tmp_path / "p.html"
    report["images"][2]["name"] = "another"
    earlier.write_text(json.dumps(report), "utf-8")
    message = refused(*arguments, "--report", page)
    assert "earlier.json: has scores of another, which are not evaluated here" in message
    report["images"].pop(2)
    earlier.write_text(json.dumps(report), "utf-8")
    assert "earlier.json: has no score of image case_2" in refused(*arguments, "--report", page)
    assert not page.exists()


@pytest.mark.parametrize(
    ("value", "why"), [(0, "holds no class of the model, as do all 6"), (255, "is of one class from edge")]
)
def test_masks_that_say_nothing_are_refused(
    refused: Callable[..., str], tiny_model_folder: Path, data: Path, tmp_path: Path, value: int, why: str
) -> None:
    folder = Path(shutil.copytree(data, tmp_path / "copy"))
    for path in (folder / "masks").iterdir():
        Image.new("L", (64, 48), value).save(path)
    page = tmp_path / "p.html"
    message = refused("evaluate", "-m", tiny_model_folder, "--data", folder, "--report", page)
    assert f"masks/case_0.png: {why}" in message
    assert not page.exists()


def test_a_page_that_is_there_is_kept(
    refused: Callable[..., str],
    evaluated: Callable[..., Any],
    tiny_model_folder: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    page = tmp_path / "p.html"
    page.write_text("mine", "utf-8")
    arguments = ["evaluate", "-m", tiny_model_folder, "--data", data, "--report", page]
    assert "already exists" in refused(*arguments)
    assert page.read_text("utf-8") == "mine"
    assert evaluated("--report", page, "--overwrite").code == 0
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")

"""`evaluate` of a model that is pointed at."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageColor
from tests.helpers.pointing import disc_answer, make_prompted_model

from napari_latentseg import evaluate_clicks
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.click_report import read_click_report
from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.report.click_pictures import ANSWER_COLOR, REFERENCE_COLOR

Run = Callable[..., Any]


@pytest.fixture
def model(make_tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Answers a disc of 8 pixels around each click."""
    monkeypatch.setattr(PromptSession, "answer", disc_answer)
    return make_prompted_model(make_tiny_model)


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    """Two images of discs: one that a click finds, and one that is larger."""
    rows, columns = np.mgrid[:64, :64]
    for part in ("images", "masks"):
        (tmp_path / "discs" / part).mkdir(parents=True)
    for name, radius in (("small", 8), ("large", 20)):
        mask = (rows - 32) ** 2 + (columns - 32) ** 2 < radius**2
        Image.fromarray((60 + 120 * mask).astype(np.uint8)).save(tmp_path / f"discs/images/{name}.png")
        Image.fromarray((255 * mask).astype(np.uint8)).save(tmp_path / f"discs/masks/{name}.png")
    return tmp_path / "discs"


def test_each_click_is_scored(model: Path, discs: Path) -> None:
    report = evaluate_clicks(model, discs, clicks=3, samples=1)
    scores = {scored.image: scored.dsc for scored in report.objects}
    assert report.image_count == report.object_count == 2
    assert scores["small"] == (1.0, 1.0, 1.0)
    small, large = 8**2, 20**2  # areas but for pi
    assert scores["large"][0] == pytest.approx(2 * small / (small + large), abs=0.02)
    assert scores["large"][0] < scores["large"][1] < scores["large"][2]
    assert report.dsc == pytest.approx(np.mean(list(scores.values()), axis=0))
    assert report.reached == 0.5
    assert report.training_count == 0
    assert report.intervals is not None
    assert all(low <= dsc <= high for (low, high), dsc in zip(report.intervals, report.dsc, strict=True))


def test_the_command_prints_a_line_for_each_click(cli: Run, model: Path, discs: Path, tmp_path: Path) -> None:
    out = tmp_path / "clicks.json"
    result = cli("evaluate", "-m", model, "--data", discs, "--clicks", 2, "-n", 1, "--out", out)
    assert result.code == 0
    assert [line.split()[0] for line in result.out.splitlines()[:3]] == ["clicks", "1", "2"]
    assert "2 objects of 2 images, 1 sample each; 50% reached a Dice of 0.9" in result.out
    assert len(json.loads(out.read_text())["objects"]) == 2


def test_the_page_has_the_figures_of_the_report(model: Path, discs: Path, tmp_path: Path) -> None:
    page = tmp_path / "clicks.html"
    report = evaluate_clicks(model, discs, clicks=4, samples=1, report=page)
    text = page.read_text("utf-8")
    shown = dict(re.findall(r'data-figure="([^"]+)">([^<]*)<', text))
    assert [shown[f"dsc.{number}"] for number in range(4)] == [f"{dsc:.4f}" for dsc in report.dsc]
    low, high = (report.intervals or ())[0]
    assert shown["intervals.0"] == f"{low:.4f} to {high:.4f}"
    assert shown["objects.0.dsc.3"] == f"{report.objects[0].dsc[3]:.4f}"
    assert "2 objects of 2 images" in text
    table = text[text.index("All objects, the worst first") :]
    assert "after 3 clicks" in table
    assert "after 2 clicks" not in table
    assert table.index(">large<") < table.index(">small<")
    assert "<script" not in text


def test_the_page_shows_the_worst_and_the_best_object(model: Path, discs: Path, tmp_path: Path) -> None:
    page = tmp_path / "clicks.html"
    report = evaluate_clicks(model, discs, clicks=2, samples=1, report=page)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.read_text("utf-8"))
    large = next(scored for scored in report.objects if scored.image == "large")
    assert captions == [
        f"<b>Worst: large</b>, Dice {large.dsc[0]:.4f} after one click, {large.dsc[1]:.4f} after 2",
        "<b>Best: small</b>, Dice 1.0000 after one click, 1.0000 after 2",
    ]
    (worst, best) = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"), int)
        for text in re.findall(r"data:image/png;base64,([^\"]+)", page.read_text("utf-8"))
    )
    assert worst.shape == (300, 4 * 300 + 3 * 8, 3)
    first, last = (orange_or_blue(worst, place) for place in (2, 3))
    assert orange_or_blue(worst, 0) == (0, 0)
    assert orange_or_blue(worst, 1)[0] > 400  # a circle of 20 pixels, each nearly five wide
    assert first[0] == last[0] == 0
    assert 150 < first[1] < last[1]
    assert orange_or_blue(best, 2) == orange_or_blue(best, 3)


def orange_or_blue(strip: np.ndarray[Any, Any], place: int) -> tuple[int, int]:
    """How many pixels of a panel have the colour of the reference, and that of the answer."""
    panel = strip[:, place * 308 :][:, :300]
    return tuple(  # type: ignore[return-value]
        int((panel == ImageColor.getrgb(color)).all(axis=-1).sum())
        for color in (REFERENCE_COLOR, ANSWER_COLOR)
    )


def test_of_a_volume_the_slice_of_the_object_is_shown(model: Path, tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :64]
    disc = (rows - 32) ** 2 + (columns - 32) ** 2 < 64
    mask = np.zeros((5, 64, 64), np.uint8)
    mask[3] = disc
    for part, values in (("images", 60 + 120 * mask), ("masks", mask)):
        (tmp_path / "volumes" / part).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "volumes" / part / "a.tif", values, metadata={"axes": "ZYX"})
    page = tmp_path / "clicks.html"
    evaluate_clicks(model, tmp_path / "volumes", clicks=1, samples=1, report=page)
    assert "1.0000 after 1; slice 4 of 5</figcaption>" in page.read_text("utf-8")


def test_a_report_is_read_again(model: Path, discs: Path, tmp_path: Path) -> None:
    report = evaluate_clicks(model, discs, clicks=1, samples=1)
    file = tmp_path / "clicks.json"
    file.write_text(json.dumps(report.to_json()), "utf-8")
    assert read_click_report(file) == report
    file.write_text('{"dsc": []}', "utf-8")
    with pytest.raises(BadInput, match="holds no scores of clicks"):
        read_click_report(file)


def test_fewer_images_are_chosen_evenly(model: Path, discs: Path) -> None:
    report = evaluate_clicks(model, discs, clicks=1, samples=1, images=1)
    assert [scored.image for scored in report.objects] == ["large"]


def test_an_image_whose_mask_differs_in_size_is_left_out(model: Path, discs: Path) -> None:
    Image.fromarray(np.full((30, 64), 255, np.uint8)).save(discs / "masks" / "large.png")
    report = evaluate_clicks(model, discs, clicks=1, samples=1)
    assert [scored.image for scored in report.objects] == ["small"]
    assert [image.name for image in report.left_out] == ["large"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "gms"], "--protocol: is not for a model that is pointed at; leave it out"),
        (["--worst-images", "worst"], "--worst-images: is not for a model that is pointed at"),
        (["--report", "page.txt"], "page.txt: "),
        (["-n", "1,2"], "samples: '1,2' is not a whole number"),
        (["--clicks", "0"], "clicks: are 0; ask for 1 to 50"),
        (["--images", "0"], "images: are 0; ask for one or more"),
        (["--subset", "test"], "subset: 'test' is not known"),
        (["-n", "0"], "samples: are 0; ask for 1 to 64"),
        (["-n", "65"], "samples: are 65; ask for 1 to 64"),
        (["--threshold", "0"], "--threshold: is not for a model that is pointed at"),
        (["--seed", "3"], "--seed: is not for a model that is pointed at"),
    ],
)
def test_what_has_no_meaning_is_refused(
    cli: Run, model: Path, discs: Path, options: list[str], message: str
) -> None:
    result = cli("evaluate", "-m", model, "--data", discs, *options)
    assert result.code == 2
    assert any(message in line for line in result.errors)


def test_other_models_are_not_scored_by_clicks(cli: Run, tiny_model_folder: Path, discs: Path) -> None:
    result = cli("evaluate", "-m", tiny_model_folder, "--data", discs, "--clicks", 3)
    assert result.code == 2
    assert any("are for a model that is pointed at, such as any-structure" in line for line in result.errors)
    with pytest.raises(BadInput, match="takes no prompts"):
        evaluate_clicks(tiny_model_folder, discs)

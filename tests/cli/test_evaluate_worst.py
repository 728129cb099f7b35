"""`evaluate --worst-images` and `evaluate --events`, which the window uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import napari_latentseg.evaluation.worst_images as worst_images
from napari_latentseg import api
from napari_latentseg.errors import Cancelled
from napari_latentseg.evaluation.events import EvaluationProgress, parse_evaluation_event
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.evaluation.report_file import read_evaluation
from napari_latentseg.evaluation.worst_images import read_worst_images
from napari_latentseg.io.read_results import read_segmentation
from napari_latentseg.io.registry import read_scan

Cli = Callable[..., Any]
COUNT = 5


@pytest.fixture
def data(write_ellipses: Callable[..., Path], tmp_path: Path) -> Path:
    return write_ellipses(tmp_path / "data", COUNT)


@pytest.fixture
def evaluated(cli: Cli, tiny_model_folder: Path, data: Path) -> Callable[..., Any]:
    def run(*options: object) -> Any:
        return cli("evaluate", "-m", tiny_model_folder, "--data", data, "--device", "cpu", *options)

    return run


def test_the_worst_images_are_kept_with_result_and_reference(
    evaluated: Callable[..., Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worst_images, "WORST_COUNT", 2)
    out, scores = tmp_path / "worst", tmp_path / "scores.json"
    ended = evaluated("--worst-images", out, "--out", scores)
    assert ended.code == 0, ended
    by_dice = sorted(read_evaluation(scores).images, key=lambda image: image.dsc)
    kept = read_worst_images(out)
    assert [image.name for image in kept] == [image.name for image in by_dice[:2]]
    assert [image.dsc for image in kept] == [image.dsc for image in by_dice[:2]]
    assert {path.name for path in out.iterdir()} == {kept[0].name, kept[1].name, "worst.json"}
    for image in kept:
        prediction = read_segmentation(out / image.result)
        reference = np.asarray(read_scan(out / image.reference).array)
        assert dice(prediction.mask > 0, reference > 0) == pytest.approx(image.dsc)
        mask = np.asarray(Image.open(data / "masks" / f"{image.name}.png"))
        np.testing.assert_array_equal(reference > 0, mask > 0)
        assert Path(image.image) == data / "images" / f"{image.name}.png"
        assert image.worst_slice == ""


def test_of_a_volume_the_slice_with_the_most_errors_is_named(
    cli: Cli, make_tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    import nibabel

    data, out = tmp_path / "volumes", tmp_path / "worst"
    rng = np.random.default_rng(0)
    for part, values in (
        ("images", rng.integers(0, 255, (48, 40, 6))),
        ("masks", np.arange(6) * np.ones((48, 40, 1)) == 2),
    ):
        (data / part).mkdir(parents=True)
        nibabel.Nifti1Image(values.astype(np.uint8), np.eye(4)).to_filename(data / part / "a.nii.gz")
    ended = cli(
        "evaluate", "-m", make_tiny_model("tiny-whole"), "--data", data, "--device", "cpu",
        "--sampling", "none", "--worst-images", out,
    )  # fmt: skip
    assert ended.code == 0, ended
    (image,) = read_worst_images(out)
    reference = np.asarray(read_scan(out / image.reference).array)
    assert reference.shape == (6, 40, 48)
    errors = (read_segmentation(out / image.result).mask != reference).sum(axis=(1, 2))
    assert int(image.worst_slice) == errors.argmax() + 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--protocol", "gms"), "worst images: are written at the size of the files"),
        (("--reconstruction",), "reconstruction: gives no scores of images to compare"),
        ((), "already exists"),
    ],
)
def test_what_cannot_be_kept_is_one_line(
    evaluated: Callable[..., Any], tmp_path: Path, options: tuple[object, ...], why: str
) -> None:
    out = tmp_path / "worst"
    if not options:
        out.mkdir()
        (out / "notes.txt").write_text("mine", "utf-8")
    ended = evaluated("--worst-images", out, *options)
    assert ended.code == 2, ended
    assert len(ended.errors) == 1
    assert why in ended.errors[0]


def test_events_are_lines_of_json_that_end_at_one(evaluated: Callable[..., Any], tmp_path: Path) -> None:
    ended = evaluated("--events", "--out", tmp_path / "scores.json")
    assert ended.code == 0, ended
    events = [parse_evaluation_event(line) for line in ended.out.splitlines()]
    done = [event.done for event in events if isinstance(event, EvaluationProgress)]
    assert done == sorted(done)
    assert done[-1] == 1
    assert len(done) >= COUNT
    assert json.loads((tmp_path / "scores.json").read_text("utf-8"))["count"] == COUNT


def test_an_evaluation_that_is_stopped_leaves_nothing(
    tiny_model_folder: Path, data: Path, tmp_path: Path
) -> None:
    def stop(done: float) -> None:
        if done > 0.3:
            raise Cancelled

    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Cancelled):
        api.evaluate(
            tiny_model_folder, data, device="cpu", progress=stop,
            worst_images=out / "worst", report=out / "page.html",
        )  # fmt: skip
    assert not list(out.iterdir())


def test_a_whole_report_is_read_again(
    evaluated: Callable[..., Any], make_tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    scores = tmp_path / "scores.json"
    other = make_tiny_model("tiny-tiles")
    ended = evaluated("--out", scores, "--report", tmp_path / "page.html", "--against", other)
    assert ended.code == 0, ended
    report = read_evaluation(scores, with_statistics=True)
    assert report.to_json() == json.loads(scores.read_text("utf-8"))
    assert report.intervals is not None
    assert report.calibration is not None
    assert report.paired is not None
    assert read_evaluation(scores).paired is None

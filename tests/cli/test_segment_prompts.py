"""`segment` with points and boxes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.helpers.pointed import answer_bright_regions

from napari_latentseg import Prompts, batch, evaluate, segment, segment_files
from napari_latentseg.errors import BadInput


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.zeros((60, 80, 3), np.uint8)
    values[20:40, 30:50] = values[50:55, 5:15] = 200
    Image.fromarray(values).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    values = np.zeros((5, 48, 64), np.uint8)
    values[1:4, 10:30, 20:40] = 255
    tifffile.imwrite(tmp_path / "stack.tif", values, metadata={"axes": "ZYX"})
    return tmp_path / "stack.tif"


def test_a_point_and_one_outside(
    cli: Callable[..., Any],
    picture: Path,
    tiny_prompted_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answer_bright_regions(monkeypatch)
    ended = cli(
        "segment", picture, "-m", tiny_prompted_folder, "-o", tmp_path / "out",
        "--point", "30, 40", "--not=10,10", "--point", "22,32", "--around", "18,28,42,52",
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    points = [((30, 40), True), ((10, 10), False), ((22, 32), True)]
    assert asked == [Prompts.from_points(points, boxes=[(18, 28, 42, 52)])]
    mask = tifffile.imread(tmp_path / "out" / "picture_mask.tif")
    assert mask[20:40, 30:50].all()
    assert mask.sum() == 400
    record = json.loads((tmp_path / "out" / "picture_run.json").read_text())
    assert record["source"] == "readings"
    assert record["samples"] == 4
    assert "not calibrated" in ended.out or "not available" in ended.out or "raw" in ended.out


@pytest.mark.parametrize("positive", ["[[2, 20, 30]]", "[[1, 20, 30], [3, 15, 25]]"])
def test_a_file_of_prompts_and_a_volume_that_is_followed(
    cli: Callable[..., Any],
    stack: Path,
    tiny_prompted_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    positive: str,
) -> None:
    answer_bright_regions(monkeypatch)
    (tmp_path / "prompts.json").write_text(f'{{"positive": {positive}}}')
    ended = cli(
        "segment", stack, "-m", tiny_prompted_folder, "-o", tmp_path / "out",
        "--prompts", tmp_path / "prompts.json", "--through",
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    mask = tifffile.imread(tmp_path / "out" / "stack_mask.tif")
    np.testing.assert_array_equal(mask > 0, tifffile.imread(stack) > 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--point", "a,b"), "'a,b' is none; write Y,X"),
        (("--around", "1,2,3"), "'1,2,3' is none; write TOP,LEFT"),
        (("--not", "3,4"), "nothing points at a structure"),
        (("--point", "3,4", "--not", "3,4"), "both inside and outside"),
        (("--point", "3,4", "--prompts", "p.json"), "in a file and in options"),
        (("--prompts", "no.json"), "cannot be read"),
        (("--point", "300,4"), "outside the image"),
        (("--point", "1,30,40"), "single image"),
        (("--around", "3,3,3,3"), "a box has no size"),
        (("--point", "3,4", "--structure-size", "0"), "under a voxel"),
        (("--point", "3,4", "--structure-size", "81"), "larger than the slice"),
        (("--around", "3,3,30,30", "--structure-size", "20"), "leave its size out"),
        (("--structure-size", "20"), "nothing points at a structure"),
        (("--prompts", "p.json", "--structure-size", "20"), "in a file and in options"),
        (("--point", "3,4", "--slices", "1"), "chosen by the prompts"),
        (("--point", "3,4", "--plane", "axial"), "acquired slices"),
        (("--point", "3,4", "--tolerance", "0.1"), "without prompts"),
        (("--point", "3,4", "--through"), "needs a volume"),
        (("--through",), "segments only what it is pointed at"),
        ((), "segments only what it is pointed at"),
    ],
)
def test_what_is_no_prompt_is_refused(
    refused: Callable[..., str],
    picture: Path,
    tiny_prompted_folder: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    message: str,
) -> None:
    out = tmp_path / "out"
    said = refused("segment", picture, "-m", tiny_prompted_folder, "-o", out, *options)
    assert message in said
    assert not list(out.glob("*"))


def test_points_on_several_slices_need_through(
    refused: Callable[..., str], stack: Path, tiny_prompted_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    points = ("--point", "1,20,30", "--point", "3,20,30")
    said = refused("segment", stack, "-m", tiny_prompted_folder, "-o", out, *points)
    assert "are on several slices (1, 3); follow the structure through the volume (--through)" in said
    assert not list(out.glob("*"))


def test_other_models_take_no_prompts(
    refused: Callable[..., str], picture: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    said = refused("segment", picture, "-m", tiny_model_folder, "-o", tmp_path / "out", "--point", "30,40")
    assert "takes no prompts" in said
    assert "--through" not in said


def test_a_result_of_other_points_is_not_passed_over(
    picture: Path, tiny_prompted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_bright_regions(monkeypatch)
    for point, is_skipped in [((30, 40), False), ((30, 40), True), ((52, 10), False)]:
        prompts = Prompts(positive=[point])
        (result,) = segment_files(
            picture, tiny_prompted_folder, tmp_path / "out", prompts=prompts, skip_existing=True
        )
        assert result.error is None
        assert result.is_skipped == is_skipped


def test_from_python(picture: Path, tiny_prompted_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_bright_regions(monkeypatch)
    result = segment(picture, tiny_prompted_folder, prompts=Prompts(positive=[(30, 40)]), samples=2)
    assert (result.mask > 0).sum() == 400
    assert result.variance is None


def test_prompts_are_of_one_image(picture: Path, tiny_prompted_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(picture.read_bytes())
    prompts = Prompts(positive=[(30, 40)])
    with pytest.raises(BadInput, match="belong to one image, but 2 are given"):
        segment_files([picture, other], tiny_prompted_folder, tmp_path / "out", prompts=prompts)


def test_nothing_else_runs_a_model_that_is_pointed_at(
    picture: Path, tiny_prompted_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="segments only what it is pointed at"):
        batch(picture.parent, tiny_prompted_folder, tmp_path / "out")
    with pytest.raises(BadInput, match="segments only what it is pointed at"):
        evaluate(tiny_prompted_folder, picture.parent)
    with pytest.raises(BadInput, match="write Prompts"):
        segment(picture, tiny_prompted_folder, prompts={"positive": [(3, 4)]})  # type: ignore[arg-type]


def test_the_size_of_the_structure(
    cli: Callable[..., Any],
    picture: Path,
    tiny_prompted_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answer_bright_regions(monkeypatch)
    ended = cli(
        "segment", picture, "-m", tiny_prompted_folder, "-o", tmp_path / "out",
        "--point", "30,40", "--structure-size", "20",
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    assert asked == [Prompts(positive=[(30, 40)], size=20)]
    record = json.loads((tmp_path / "out" / "picture_run.json").read_text())
    assert record["prompts"]["size"] == 20

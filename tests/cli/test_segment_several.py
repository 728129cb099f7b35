"""`segment` of several images: one load of the model, no two results of one name, and each failure named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_latentseg import BadInput, read_scan, segment_files
from napari_latentseg.api import files
from napari_latentseg.io.find_scans import find_scans

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, and what lies about in folders."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("1.png", "2.png", "3.png"):
        Image.fromarray(RNG.integers(0, 256, (24, 32), dtype=np.uint8)).save(folder / name)
    for name in ("Thumbs.db", ".DS_Store", "._1.png", "notes.txt"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that were loaded."""
    from napari_latentseg.models import store

    loaded: list[Any] = []
    load = store.load_model
    monkeypatch.setattr(store, "load_model", lambda *a, **k: loaded.append(a) or load(*a, **k))
    return loaded


def test_a_folder_and_several_files(
    cli: Callable[..., Any], folder: Path, tiny_model_folder: Path, loads: list[Any], tmp_path: Path
) -> None:
    options = ("-m", tiny_model_folder, "-n", 1)
    ended = cli("segment", folder, *options, "-o", tmp_path / "a")
    assert (ended.code, ended.errors) == (0, [])
    assert len(loads) == 1
    records = sorted(path.name for path in (tmp_path / "a").glob("*_run.json"))
    assert records == ["1_run.json", "2_run.json", "3_run.json"]
    assert cli("segment", folder / "1.png", folder / "2.png", *options, "-o", tmp_path / "b").code == 0
    for name in ("1_mask.tif", "2_mask.tif"):
        first, second = (read_scan(tmp_path / out / name) for out in ("a", "b"))
        assert first.content_sha256 == second.content_sha256


def test_results_beside_their_images_are_no_images(
    cli: Callable[..., Any], folder: Path, tiny_model_folder: Path
) -> None:
    line = ("segment", folder, "-m", tiny_model_folder, "-n", 1, "-o", folder)
    assert cli(*line).code == 0
    names = sorted(path.name for path in folder.iterdir())
    assert "1_mask.tif" in names
    assert cli(*line, "--seed", 2).code == 0
    assert sorted(path.name for path in folder.iterdir()) == names


@pytest.mark.parametrize("broken", [("2.png",), ("1.png", "2.png", "3.png")])
def test_a_broken_image_does_not_cost_the_others(
    cli: Callable[..., Any], folder: Path, tiny_model_folder: Path, broken: tuple[str, ...], tmp_path: Path
) -> None:
    for name in broken:
        (folder / name).write_bytes(b"no picture")
    ended = cli("segment", folder, "-m", tiny_model_folder, "-n", 1, "-o", tmp_path / "out")
    assert ended.code == (3 if len(broken) < 3 else 2)
    assert len(ended.errors) == len(broken) + 1
    for name, line in zip(broken, ended.errors, strict=False):
        assert name in line
    assert ended.errors[-1] == f"error: {len(broken)} of 3 images without a result"
    assert len(list((tmp_path / "out").glob("*_run.json"))) == 3 - len(broken)


def test_the_error_of_a_file_in_a_series_names_the_series(
    cli: Callable[..., Any], folder: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    (folder / "series").mkdir()
    (folder / "series" / "000004.dcm").write_bytes(b"\0" * 128 + b"DICM, and cut short")
    ended = cli(
        "segment", folder / "1.png", folder / "series", "-m", tiny_model_folder, "-n", 1, "-o", tmp_path / "o"
    )
    assert ended.code == 3
    assert ended.errors[0].startswith("error: series: 000004.dcm: ")


def test_results_of_the_same_name_are_refused_before_the_first(
    refused: Callable[..., str], folder: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(other / "2.PNG")
    message = refused("segment", folder, other, "-m", tiny_model_folder, "-o", tmp_path / "out")
    assert "would have the same names as those of" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--case", "A1"), ("--report", "r.html")])
def test_what_is_for_one_image_is_refused_for_several(
    refused: Callable[..., str],
    folder: Path,
    tiny_model_folder: Path,
    option: tuple[str, str],
    tmp_path: Path,
) -> None:
    message = refused("segment", folder, "-m", tiny_model_folder, "-o", tmp_path / "out", *option)
    assert message.startswith(f"{option[0][2:]}: is one for 3 images")


def test_existing_results_are_passed_over_and_json_says_so(
    cli: Callable[..., Any], folder: Path, tiny_model_folder: Path, loads: list[Any], tmp_path: Path
) -> None:
    options = ("-m", tiny_model_folder, "-n", 1, "-o", tmp_path / "out", "--skip-existing")
    assert cli("segment", folder / "1.png", *options).code == 0
    ended = cli("segment", folder, *options, "--json")
    content = json.loads(ended.out, parse_constant=pytest.fail)
    assert [result["skipped"] for result in content["results"]] == [True, False, False]
    assert [Path(file).name for file in content["results"][1]["files"]] == [
        "2_mask.tif", "2_mean.tif", "2_run.json",
    ]  # fmt: skip
    assert content["results"][1]["sizes"][0]["title"]
    assert content["errors"] == []
    loads.clear()
    assert cli("segment", folder, *options).code == 0
    assert loads == []
    Image.fromarray(RNG.integers(0, 256, (24, 32), dtype=np.uint8)).save(folder / "1.png")  # another image
    assert cli("segment", folder, *options).code == 3


def test_an_empty_folder_is_refused(
    refused: Callable[..., str], tiny_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    message = refused("segment", tmp_path / "empty", "-m", tiny_model_folder, "-o", tmp_path / "out")
    assert "is a folder without images" in message


def test_values_beside_their_header_are_no_images_of_their_own(tmp_path: Path) -> None:
    for name in ("a.hdr", "a.img", "b.mhd", "b.raw", "c.nhdr", "c.raw", "d.img"):
        (tmp_path / name).write_bytes(b"x")
    found = find_scans([tmp_path, tmp_path / "a.hdr"])
    assert [path.name for path in found.scans] == ["a.hdr", "b.mhd", "c.nhdr", "d.img"]
    assert found.passed_over == 3


def test_from_python_a_failure_is_a_result_too(folder: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    (folder / "2.png").write_bytes(b"no picture")
    results = list(segment_files(folder, tiny_model_folder, tmp_path / "out"))
    assert [type(result.error) for result in results] == [type(None), BadInput, type(None)]
    assert results[0].segmentation is not None
    assert results[0].written[0].name == "1_mask.tif"


def test_a_file_that_does_not_fit_into_memory_does_not_stop_the_others(
    folder: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(files, "open_image", fail)
    results = list(segment_files(folder, tiny_model_folder, tmp_path / "out"))
    assert all("does not fit into memory" in str(result.error) for result in results)

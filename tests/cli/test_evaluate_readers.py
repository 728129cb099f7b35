"""`evaluate --readers`: the samples of a model beside the masks of several readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_latentseg import api
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.job import TrainingJob

SAMPLES = 4


@pytest.fixture(scope="module")
def data(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_ellipses(tmp_path_factory.mktemp("readers") / "data", count=4, shape=(32, 32))
    rng = np.random.default_rng(0)
    for number, reader in product(range(4), (1, 2, 3)):
        (folder / f"masks_r{reader}").mkdir(exist_ok=True)
        mask = np.zeros((32, 32), np.uint8)
        if reader < 3:
            top, left = rng.integers(2, 12, 2)
            mask[top : top + 14, left : left + 10 + number] = 255
        Image.fromarray(mask).save(folder / f"masks_r{reader}" / f"case_{number}.png")
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    widths = {"widths": [8, 8], "norm_groups": 8}
    config = TrainingConfig.model_validate(
        {
            "method": "medseglatdiff", "codec": None, "preprocess": {"mode": "whole", "size": 32},
            "split": {"fraction": 0.3}, "epochs": 1, "batch_size": 2, "warmup_epochs": 0,
            "schedule_by": "step", "select": "last", "readers": "random",
            "settings": {
                "autoencoder": widths | {"layers_per_block": 1, "codes": 8},
                "denoiser": widths | {"layers_per_block": 1, "head_width": 8},
                "steps": 2,
            },
        }
    )  # fmt: skip
    out = tmp_path_factory.mktemp("model") / "readers"
    list(TrainingJob(data, out, config, None, None, device="cpu"))
    return out


def distance(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return 0.0 if union == 0 else 1 - (a & b).sum() / union


def mean_distance(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    return float(np.mean([distance(a, b) for a, b in product(first, second)]))


def test_the_figures_are_those_of_the_samples_and_the_files(cli, model: Path, data: Path) -> None:
    ended = cli("evaluate", "--model", model, "--data", data, "--readers", "auto", "-n", SAMPLES, "--json")
    assert (ended.code, ended.errors) == (0, [])
    report = json.loads(ended.out)
    assert report["readers"]["readers"] == 3
    assert "ged2" in report["conventions"]
    figures = []
    for number, image in enumerate(report["readers"]["images"]):
        assert image["name"] == f"case_{number}"
        path = data / "images" / f"case_{number}.png"
        result = api.segment(path, str(model), samples=SAMPLES, precision="float32")
        assert result.sample_maps is not None
        samples = [result.sample_maps.sample(i)[0] > 0.5 for i in range(SAMPLES)]
        readers = [np.asarray(Image.open(data / f"masks_r{reader}" / path.name)) > 0 for reader in (1, 2, 3)]
        between = mean_distance(samples, readers)
        ged2 = 2 * between - mean_distance(samples, samples) - mean_distance(readers, readers)
        assert image["ged2"] == pytest.approx(ged2, abs=1e-6)
        assert image["sample_reader_distance"] == pytest.approx(between, abs=1e-6)
        figures.append(ged2)
    assert report["readers"]["mean"]["ged2"] == pytest.approx(np.mean(figures), abs=1e-6)


def test_named_readers_are_compared_in_words(cli, model: Path, data: Path) -> None:
    ended = cli("evaluate", "--model", model, "--data", data, "--readers", "masks_r1,masks_r2", "-n", SAMPLES)
    assert (ended.code, ended.errors) == (0, [])
    (line,) = (line for line in ended.out.splitlines() if line.startswith("GED2"))
    assert "(2 readers" in line
    report = api.evaluate(model, data, samples=SAMPLES, readers=["masks_r1", "masks_r2"])
    assert report.readers is not None
    assert f"GED2 {report.readers.mean.ged2:.4f}" in line
    assert api.evaluate(model, data, samples=SAMPLES).readers is None


def test_scores_against_the_consensus_do_not_change(model: Path, data: Path) -> None:
    with_readers = api.evaluate(model, data, samples=SAMPLES, readers="auto")
    alone = api.evaluate(model, data, samples=SAMPLES)
    assert with_readers.mean == alone.mean
    assert with_readers.images == alone.images


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--readers", "masks_r9"], "has no folder masks_r9/ of a reader's masks"),
        (["--readers", "masks_r1,"], "readers: one has no name"),
        (
            ["--readers", "auto", "--protocol", "medseglatdiff"],
            "readers: are compared at the size of the files",
        ),
        (["--readers", "auto", "--reconstruction"], "reconstruction: scores the autoencoders"),
    ],
)
def test_what_cannot_be_compared_is_refused(refused, model: Path, data: Path, options, message: str) -> None:
    assert message in refused("evaluate", "--model", model, "--data", data, *options)


def test_a_missing_mask_of_a_reader_is_named(refused, model: Path, data: Path, tmp_path: Path) -> None:
    folder = copy_of(data, tmp_path)
    (folder / "masks_r2" / "case_1.png").unlink()
    message = refused("evaluate", "--model", model, "--data", folder, "--readers", "auto")
    assert "case_1.png: has no mask of the same name in masks_r2/" in message


def test_a_mask_of_another_size_leaves_its_image_out(cli, model: Path, data: Path, tmp_path: Path) -> None:
    folder = copy_of(data, tmp_path)
    Image.new("L", (16, 32)).save(folder / "masks_r2" / "case_1.png")
    ended = cli("evaluate", "--model", model, "--data", folder, "--readers", "auto", "-n", 2, "--json")
    assert ended.code == 3
    report = json.loads(ended.out)
    assert [image["name"] for image in report["left_out"]] == ["case_1"]
    assert (
        "masks_r2/case_1.png: has shape (1, 32, 16), its image (1, 32, 32)" in report["left_out"][0]["reason"]
    )
    assert [image["name"] for image in report["readers"]["images"]] == ["case_0", "case_2", "case_3"]


def copy_of(data: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(data, tmp_path / "copy"))

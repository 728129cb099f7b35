"""A model of a new structure works at a scale at which its codec keeps the structure."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.api import adopt_model, evaluate, segment
from napari_latentseg.cli import main
from napari_latentseg.codecs.base import Codec
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.finetuning.cases import collect_cases
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.finetuning.working_scale import choose_working_scale, sample_masks
from napari_latentseg.models.card import read_card
from napari_latentseg.models.comparison import Comparison
from napari_latentseg.models.install import install_folder
from napari_latentseg.utils.device import resolve_compute

BASE = Preprocess(mode="whole", size=64, window=(-100, 300))


class ExactCodec(Codec):
    """Loses nothing, so that only resizing does."""

    kind = "compact"
    channels = 192

    def encode(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images, 8)

    def decode(self, latents: Tensor) -> Tensor:
        return F.pixel_shuffle(latents, 8)


def disc() -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:300, :400]
    return (rows - 140) ** 2 + (columns - 180) ** 2 < 70**2


def threads() -> NDArray[np.bool_]:
    """Lines of three pixels, on a slant."""
    rows, columns = np.mgrid[:300, :400]
    return (rows + 3 * columns) % 97 < 9


def choose(masks: list[NDArray[np.bool_]], **options: int) -> tuple[Preprocess, float, float, str]:
    scale = choose_working_scale(ExactCodec(), BASE, masks, resolve_compute("cpu", "float32"), **options)
    return scale.preprocess, scale.kept, scale.kept_of_whole, scale.reason


def test_what_is_large_is_seen_whole() -> None:
    preprocess, kept, of_whole, reason = choose([disc(), disc().T])
    assert preprocess == BASE
    assert kept == of_whole > 0.95
    assert (
        reason
        == f"the model works on whole images at 64 x 64 pixels: the best possible answer has Dice {kept:.2f}"
    )


def test_what_is_thin_is_seen_in_tiles_no_finer_than_needed() -> None:
    preprocess, kept, of_whole, reason = choose([threads()])
    assert of_whole < 0.9
    assert kept >= 0.95
    assert (preprocess.mode, preprocess.size, preprocess.overlap) == ("tiles", 64, 16)
    assert preprocess.window == BASE.window  # what else the base sees is kept
    assert preprocess.long_side is not None
    coarser = round(preprocess.long_side / 1.25)
    assert choose([threads()], long_side=coarser)[1] < 0.95
    assert f"tiles of 64 x 64 pixels of the image at {preprocess.long_side} pixels" in reason
    assert f"with whole images at 64 x 64 pixels it is {of_whole:.2f}" in reason


def test_what_no_scale_keeps_gets_the_best_one() -> None:
    class Blur(ExactCodec):
        def decode(self, latents: Tensor) -> Tensor:
            return F.avg_pool2d(F.pixel_shuffle(latents, 8), 15, 1, 7)

    scale = choose_working_scale(Blur(), BASE, [threads()], resolve_compute("cpu", "float32"))
    assert scale.kept < 0.95
    assert scale.kept >= scale.kept_of_whole


def test_a_mask_that_is_lost_altogether_counts_as_nothing_kept() -> None:
    mask = np.zeros((400, 400), bool)
    mask[201, 202] = True
    preprocess, _, of_whole, _ = choose([mask])
    assert of_whole == 0
    assert preprocess.mode == "tiles"


def test_a_person_may_ask_for_a_scale() -> None:
    assert choose([disc()], long_side=200)[0].long_side == 200
    preprocess, _, of_whole, reason = choose([threads()], long_side=64)
    assert preprocess == BASE
    assert reason.startswith("as asked, the model works on whole images at 64 x 64 pixels")
    assert f"{of_whole:.2f}" in reason


@pytest.fixture
def home(tmp_path: Path, tiny_codec_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that holds the codec and nothing else."""
    shutil.copytree(tiny_codec_folder, tmp_path / "home" / "codecs" / tiny_codec_folder.name)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("home")
def test_a_model_of_tiles_is_taught_used_judged_and_taught_again(
    tiny_prompted_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    install_folder(tiny_prompted_folder)
    data = write_ellipses(tmp_path / "data", shape=(120, 160))
    job = FineTuneJob("tiny-prompted", data, structure="cyst", steps=2, device="cpu", long_side=192)
    events = {event.event: event for event in job}
    assert events["data"].event == "data"
    assert "tiles of 64 x 64 pixels of the image at 192 pixels" in events["data"].note
    card = read_card(job.out)
    assert (card.preprocess.mode, card.preprocess.size, card.preprocess.long_side) == ("tiles", 64, 192)
    assert "as asked, the model works on tiles of 64 x 64 pixels" in card.limits.lower()
    comparison = Comparison.model_validate_json((job.out / "comparison.json").read_bytes())
    assert any("192 pixels" in note for note in comparison.notes)
    assert card.fit is not None
    assert (card.fit.images, card.fit.headers.sides) == (4, (120, 160))  # two of six are for validation
    adopt_model("cyst")
    image = next((data / "images").iterdir())
    result = segment(image, "cyst", source="augment", samples=3)
    assert result.mask.shape == (120, 160)
    assert result.variance is not None
    assert result.record.fit is not None
    assert result.record.fit.state == "fits"
    report = evaluate("cyst", write_ellipses(tmp_path / "others", 2, shape=(90, 110), seed=4), source="none")
    assert report.image_count == 2
    again = FineTuneJob("cyst", data, steps=2, device="cpu")
    assert list(again)[-1].event == "saved"
    assert read_card(again.out).preprocess == card.preprocess


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("base", "options", "says"),
    [
        ("prompted", ["--structure", "cyst", "--long-side", "40"], "long side: 40 is not from 64 to 4,096"),
        ("prompted", ["--structure", "cyst", "--long-side", "5000"], "long side: 5000 is not from 64"),
        ("classes", ["--long-side", "256"], "keeps the scale that it was trained at"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(
    base: str,
    options: list[str],
    says: str,
    tiny_prompted_folder: Path,
    tiny_model_folder: Path,
    write_ellipses: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny_prompted_folder if base == "prompted" else tiny_model_folder
    data = write_ellipses(tmp_path / "data")
    assert main(["finetune", str(model), "--data", str(data), *options]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_of_a_volume_a_slice_that_shows_the_structure_is_measured(
    tiny_model_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    import tifffile

    for part in ("images", "masks"):
        (tmp_path / "volumes" / part).mkdir(parents=True)
    volume = np.random.default_rng(0).integers(0, 255, (5, 40, 48), np.uint8)
    mask = np.zeros_like(volume)
    for z, width in ((1, 4), (2, 10), (3, 20)):
        mask[z, 10:20, 10 : 10 + width] = 1
    for part, values in (("images", volume), ("masks", mask)):
        tifffile.imwrite(tmp_path / "volumes" / part / "a.tif", values, metadata={"axes": "ZYX"})
    cases = collect_cases([tmp_path / "volumes"], read_card(tiny_model_folder))
    (found,) = sample_masks(cases)
    assert np.array_equal(found, mask[2] > 0)

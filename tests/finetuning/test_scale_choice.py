"""The size at which the images of another camera are worked on, chosen before a model is taught."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.data.slices import Slice
from napari_latentseg.finetuning import scale_choice
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.finetuning.scale_choice import FACTORS, choose_scale, new_longer_side, patches_at
from napari_latentseg.models.card import read_card

TILES = Preprocess(mode="tiles", size=32, long_side=96)


def ramp(height: int, width: int, **more: Any) -> Slice:
    """A slice whose first channels are the row and the column, as fractions of 250."""
    rows = torch.linspace(0, 250, height)[:, None].expand(height, width)
    columns = torch.linspace(0, 250, width)[None].expand(height, width)
    image = torch.stack([rows, columns, rows]).to(torch.uint8)
    return Slice(image, torch.ones(1, height, width, dtype=torch.uint8), "key", **more)


@pytest.mark.parametrize("centre", [(0.5, 0.5), (0.02, 0.97), (0.31, 0.64)])
def test_the_same_part_of_the_image_is_scored_at_every_size(centre: tuple[float, float]) -> None:
    places = []
    for scale in (1.0, 0.75, 0.5):
        (patch,) = patches_at(ramp(round(200 * scale), round(240 * scale)), [centre], 32, scale)
        assert patch.image.shape == (3, 32, 32)
        assert patch.unknown is not None
        scored = patch.image[:2, patch.unknown == 0]
        assert scored.shape[1] == pytest.approx((32 * scale) ** 2, rel=0.15)
        places.append([scored.amin(1).tolist(), scored.amax(1).tolist()])
    np.testing.assert_allclose(places[1], places[0], atol=0.02)
    np.testing.assert_allclose(places[2], places[0], atol=0.03)


def test_beyond_the_edge_and_where_nothing_is_known_nothing_is_scored() -> None:
    unknown = torch.zeros(20, 60, dtype=torch.uint8)
    unknown[:, :30] = 1
    (patch,) = patches_at(ramp(20, 60, unknown=unknown), [(0.5, 0.5)], 32, 1.0)
    assert patch.unknown is not None
    assert patch.unknown[20:].all()
    assert patch.unknown[:20, :16].all()
    assert not patch.unknown[:20, 16:].any()


def photographs(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i, (height, width) in enumerate(sizes):
        image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{i}.png")
        Image.fromarray(np.where(image[..., 0] > 127, 255, 0).astype(np.uint8)).save(
            folder / "masks" / f"{i}.png"
        )
    return folder


@pytest.mark.parametrize(
    ("sizes", "preprocess", "expected"),
    [
        ([(60, 50), (60, 50), (90, 90)], TILES, 60),
        ([(60, 50), (61, 50)], TILES, 60),  # a margin that was cut off
        ([(48, 40)] * 2, TILES, None),  # as large as its training images, of 48 pixels
        ([(60, 50), (90, 80), (120, 100)], TILES, None),  # no size is that of half of them
        ([(60, 50)] * 2, TILES.replace(long_side_of=((60, 120),)), None),  # chosen in an earlier round
        ([(60, 50)] * 2, Preprocess(size=32), None),  # whole slices are not scaled by their side
    ],
)
def test_a_size_is_chosen_for_images_of_a_size_that_is_new_to_the_model(
    taught_base: Path, tmp_path: Path, sizes: list[tuple[int, int]], preprocess: Preprocess,
    expected: int | None,
) -> None:  # fmt: skip
    card = read_card(taught_base)
    assert card.fit is not None
    headers = card.fit.headers.replace(sides=(47, 49))
    card = card.replace(preprocess=preprocess, fit=card.fit.replace(headers=headers))
    assert new_longer_side(card, find_cases(photographs(tmp_path / "data", sizes))) == expected


def test_the_candidate_keeps_the_size_and_says_so_and_its_base_does_not_change(
    taught_base: Path, tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_codec_folder, home / "codecs" / tiny_codec_folder.name)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(home))
    base = tmp_path / "base"
    shutil.copytree(taught_base, base)
    card = json.loads((base / "card.json").read_text())
    card["preprocess"] |= {"mode": "tiles", "long_side": 48, "overlap": 8}
    (base / "card.json").write_text(json.dumps(card))
    scores: list[dict[float, float]] = []

    def largest(dice: dict[float, float]) -> float:
        scores.append(dice)
        return max(dice)

    monkeypatch.setattr(scale_choice, "best_factor", largest)
    data = photographs(tmp_path / "data", [(90, 80)] * 3)
    job = FineTuneJob(base, data, tmp_path / "out", name="mine", steps=2, device="cpu")
    first, *_ = [event.as_dict() for event in job]
    (dice,) = scores
    assert set(dice) == set(FACTORS)
    assert all(0 < value < 1 for value in dice.values())
    assert "images of 90 pixels are scaled to 67 in place of 48" in first["note"]
    preprocess = read_card(tmp_path / "out").preprocess
    assert preprocess.long_side_of == ((90, 67),)
    assert preprocess.working_size(90, 80) == (67, 60)
    assert preprocess.working_size(200, 100) == (48, 24)
    assert read_card(base).preprocess.long_side_of == ()
    spec = job.method.fine_tune_spec()
    given = (read_card(base), job.method, spec, job.cases, job.compute, 0)
    assert choose_scale(*given, minutes=1e-6).preprocess.long_side_of == ()  # there is no time for it
    assert choose_scale(*given, resumed=[(90, 34)]).preprocess.long_side_of == ((90, 34),)

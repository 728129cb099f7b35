"""The networks alone: our engine against torch, and whether the masks are the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model
from speed_rows.cases import DATA_SETS, planes_of, validation_cases
from speed_rows.engines import NetworkPasses, random_tiles, torch_pass, torch_predictor
from speed_rows.measure import NotMeasured, Settings, in_seconds, interleave, ratios
from speed_rows.section import Row, Section

TEXT = """\
Encoding and one draw of n augmented tiles of one image, at working size; n is the card's default.
Beside: each tile by itself in torch, float32. "Equal pixels" is the least of all images: the masks of
whole runs of n samples on validation images, through our engine against torch in float32 with one tile
a batch (of a volume, one slice counts as an image)."""

AIMS = {"hippocampus-mr": ">= 3.5"}
PASSES_PER_TIMING = 3  # so that one timing takes longer than the clock of a busy machine jitters


def measure(settings: Settings) -> Section:
    rows: list[Row] = []
    for name in DATA_SETS:
        model = load_model(name)
        rows.append(_exact_row(model, settings))
        rows.append(_bfloat16_row(model, settings))
        rows.append(_equality_row(model, settings))
    return Section("networks", "The networks", TEXT, tuple(rows))


def _times(model: Model, precision: str, settings: Settings) -> tuple[list[float], list[float]]:
    passes = (settings.repeats + 1) * PASSES_PER_TIMING
    ours_pass = NetworkPasses(Predictor(model, "cpu", precision), passes)
    tiles = torch.from_numpy(random_tiles(model, 0))

    def repeat(one_pass: Callable[[], object]) -> None:
        for _ in range(PASSES_PER_TIMING):
            one_pass()

    times = interleave(
        {"ours": partial(repeat, ours_pass), "torch": partial(repeat, partial(torch_pass, model, tiles))},
        settings.repeats,
    )
    each = PASSES_PER_TIMING
    return [t / each for t in times["ours"]], [t / each for t in times["torch"]]


def _exact_row(model: Model, settings: Settings) -> Row:
    ours, beside = _times(model, "float32", settings)
    card = model.card
    return Row(
        f"{card.name}, {card.preprocess.size} x {card.preprocess.size}, n = {card.default_samples}, float32",
        in_seconds(ours), f"torch {in_seconds(beside)}", ratios(beside, ours), AIMS.get(card.name, ">= 1.9"),
    )  # fmt: skip


def _bfloat16_row(model: Model, settings: Settings) -> Row:
    what = f"{model.card.name}, bfloat16"
    if Predictor(model, "cpu", "auto").compute.precision != "bfloat16":
        return Row(what, note="not allowed: `--precision auto` takes float32 for this model")
    ours, beside = _times(model, "auto", settings)
    return Row(what, in_seconds(ours), f"torch {in_seconds(beside)}", ratios(beside, ours), ">= 2.8")


def _equality_row(model: Model, settings: Settings) -> Row:
    what = f"{model.card.name}, equal pixels, the least"
    try:
        cases = validation_cases(model, settings.data)
    except NotMeasured as error:
        return Row(what, note=str(error))
    engine, reference = Predictor(model, "cpu", "float32"), torch_predictor(model)
    percents: list[float] = []
    for case, plane in planes_of(cases, 1 if settings.quick else 60):
        scan = case.read_scan()
        wanted = InferenceSettings.for_model(model.card, slices=(plane, plane), precision="float32")
        masks = [
            predictor.segment(scan, request).mask
            for predictor, request in (
                (engine, wanted),
                (reference, wanted.replace(tiles_at_once=1)),
            )
        ]
        a, b = (mask[plane] if mask.ndim > 2 else mask for mask in masks)
        percents.append(100 * float((a == b).mean()))
    least = min(percents)
    return Row(
        what, f"{np.mean(percents):.6g} % on average", values=(least,), unit=" %", aim=">= 99.9",
        note=f"{len(percents)} images",
    )  # fmt: skip

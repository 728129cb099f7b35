"""The same networks and runs on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.models.store import load_model
from napari_latentseg.utils.device import available_devices
from speed_rows import whole
from speed_rows.cases import DATA_SETS
from speed_rows.engines import NetworkPasses, random_tiles, torch_pass
from speed_rows.measure import Settings, in_seconds, interleave, ratios
from speed_rows.section import Row, Section

TEXT = """\
The networks as above on a GPU, through the path of a run, against torch in float32 with one tile at a
time on the same GPU; and all of `segment` against a pass of the U-Net there."""

PASSES = 10  # a pass takes a millisecond or so


def measure(settings: Settings) -> Section:
    device = next((name for name in available_devices() if name.startswith(("cuda", "mps"))), None)
    if device is None:
        why = "this machine has no GPU"
        names = [
            *(f"{name}, networks" for name in DATA_SETS),
            "breast-ultrasound, an image",
            "hippocampus-mr, a volume",
        ]
        return Section("gpu", "On a GPU", TEXT, tuple(Row(name, note=why) for name in names))
    rows: list[Row] = []
    for name in DATA_SETS:
        model = load_model(name)
        predictor = Predictor(model, device, "auto")
        ours_pass = NetworkPasses(predictor, (settings.repeats + 1) * PASSES)
        images = torch.from_numpy(random_tiles(model, 0)).to(device)

        def waited(one_pass: Callable[[], object]) -> None:
            for _ in range(PASSES):
                one_pass()
            torch.cuda.synchronize() if device.startswith("cuda") else torch.mps.synchronize()

        times = interleave(
            {
                "ours": partial(waited, ours_pass),
                "torch": partial(waited, partial(torch_pass, model, images)),
            },
            settings.repeats,
        )
        ours, beside = ([t / PASSES for t in times[which]] for which in ("ours", "torch"))
        what = f"{name}, n = {model.card.default_samples}, {predictor.compute.precision}"
        rows.append(Row(what, in_seconds(ours), f"torch {in_seconds(beside)}", ratios(beside, ours)))
    return Section("gpu", "On a GPU", TEXT, (*rows, *whole.rows(settings, device)))

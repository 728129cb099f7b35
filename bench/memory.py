"""Peak resident memory of a run, in addition to that of the imports: of a volume, and of a large slide.

    python bench/memory.py volume            512 x 512 x 300 of int16, five samples
    python bench/memory.py slide             20,000 x 20,000 RGB, from OME-Zarr to OME-Zarr
    python bench/memory.py slide --native    the same at its own scale, tile by tile
    python bench/memory.py slide --native --box 8000,8000,12096,12096    a crop box of it

With --stand-in the brightness of each tile replaces the network, which shows the memory of the run itself
without the hours that a network needs for 20,000 x 20,000 at its own scale.

Run each in a process of its own: the peak of a process never decreases.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import torch

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.io import read_scan
from napari_latentseg.io.ome_zarr import write as write_zarr
from napari_latentseg.io.write_results import write_segmentation
from napari_latentseg.methods.gms import GMS
from napari_latentseg.methods.noise import Noise
from napari_latentseg.models.store import load_model


def peak() -> float:
    """Peak resident memory of this process, in GB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform != "darwin" else most / 2**30


def volume(shape: tuple[int, int, int]) -> Scan:
    rng = np.random.default_rng(0)
    values = np.empty(shape, dtype=np.int16)
    for plane in values:  # one plane at a time, so that creating the volume does not set the peak
        plane[:] = rng.integers(-1000, 2000, shape[1:], dtype=np.int16)
    return Scan(values, "zyx", Geometry.from_spacing("zyx", (1.0, 0.7, 0.7), "mm"), format="nifti")


def slide(folder: Path, side: int) -> Scan:
    """A slide that is written chunk by chunk, and opened again."""
    chunks = (1024, 1024, 3)

    def block(block_info: dict[int, dict[str, tuple[int, ...]]]) -> np.ndarray:
        place = block_info[None]
        rng = np.random.default_rng(list(place["chunk-location"]))
        return rng.integers(0, 255, place["chunk-shape"], dtype=np.uint8)

    image = da.map_blocks(
        block,
        chunks=da.core.normalize_chunks(chunks, (side, side, 3)),
        dtype=np.uint8,
        meta=np.array([], np.uint8),
    )
    path = folder / "slide.ome.zarr"
    write_zarr(path, image, "yxc", Geometry.from_spacing("yx", (0.5, 0.5), "um"), {})
    return read_scan(path)


class StandIn(GMS):
    """A method without a network; --box shows the memory of a real one."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def sample(self, condition: torch.Tensor, noise: Noise | None = None) -> torch.Tensor:
        return condition.mean(dim=1, keepdim=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["volume", "slide"])
    parser.add_argument("--samples", type=int)
    parser.add_argument("--side", type=int, default=20_000, help="side of the slide in pixels")
    parser.add_argument("--planes", type=int, default=300, help="slices of the volume")
    parser.add_argument("--model")
    parser.add_argument("--native", action="store_true", help="work at the slide's own scale")
    parser.add_argument("--box", help="top,left,bottom,right")
    parser.add_argument("--stand-in", action="store_true", help="no network, so that tiles take no time")
    given = parser.parse_args()
    is_volume = given.what == "volume"
    model = load_model(given.model or ("breast-ultrasound" if is_volume else "retina-vessels"))
    if given.native:
        tiles = model.card.preprocess.replace(long_side=given.side)
        model = replace(model, card=model.card.replace(preprocess=tiles))
    if given.stand_in:
        assert isinstance(model.method, GMS)
        model = replace(model, method=StandIn(model.method.codec, model.method.config))
    samples = given.samples or (5 if is_volume else 3)
    box = None if given.box is None else tuple(map(int, given.box.split(",")))
    request = InferenceSettings.for_model(
        model.card, samples=samples, source=None if samples > 1 else "none", box=box
    )
    predictor = Predictor(model)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        before = peak()
        scan = volume((given.planes, 512, 512)) if is_volume else slide(folder, given.side)
        print(f"after the imports and the model {before:.2f} GB; with the image {peak():.2f} GB", flush=True)
        begun = time.perf_counter()
        run = predictor.start(scan, request)
        shown = 0.0
        for step in run:
            if step.fraction >= shown:
                print(
                    f"  {step.fraction:4.0%} {time.perf_counter() - begun:6.0f} s, {peak():.2f} GB",
                    flush=True,
                )
                shown = step.fraction + 0.1
        print(
            f"run: peak {peak() - before:.2f} GB above the imports, {time.perf_counter() - begun:.0f} s",
            flush=True,
        )
        found = run.result()
        assert found is not None
        write_segmentation(found, folder / "out", "a", format="nifti" if is_volume else "ome-zarr")
        print(f"written: peak {peak() - before:.2f} GB above the imports, {samples} samples")


if __name__ == "__main__":
    main()

"""Time and disk space of saving annotations: a volume of 512 x 512 x 300 with a mask of several classes.

.venv/bin/python bench/autosave.py [--folder DIR]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan


def timed(name: str, do: Callable[[], object]) -> None:
    begun, worked = time.perf_counter(), time.process_time()
    do()
    wall, own = time.perf_counter() - begun, time.process_time() - worked
    print(f"{name:44s} {wall:7.3f} s, of which {own:7.3f} s on the processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder unless given")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (300, 512, 512)
    # smooth tissue with the noise of a scanner, so that values compress about as well as those of a CT scan
    coarse = rng.normal(0, 1, (38, 64, 64)).astype(np.float32)
    tissue = ndimage.zoom(coarse, (300 / 38, 8, 8), order=1, grid_mode=True, mode="nearest")
    values = (300 * tissue + rng.normal(0, 12, shape).astype(np.float32)).astype(np.int16)
    mask = np.zeros(shape, np.uint8)
    for label, level in ((1, 0.8), (2, 1.4), (3, 2.0)):
        mask[tissue > level] = label
    del tissue, coarse
    scan = Scan(values, "zyx", Geometry.from_spacing("zyx", (1.0, 0.7, 0.7), "mm"), modality="CT")
    classes = [ClassInfo(label=n, name=f"tissue {n}", color="#d62728") for n in (1, 2, 3)]
    with (
        tempfile.TemporaryDirectory(dir=given.folder) as folder,
        AnnotationStore(Path(folder) / "annotations") as store,
    ):
        print(f"mask {mask.nbytes / 1e6:.0f} MB, image {values.nbytes / 1e6:.0f} MB")
        timed("first autosave (with the image, once)", lambda: store.save_draft(scan, mask, classes=classes))
        timed("autosave, nothing changed", lambda: store.save_draft(scan, mask, classes=classes))
        for _ in range(3):
            y, x = rng.integers(50, 450, 2)
            mask[150, y : y + 30, x : x + 30] = 3
            timed("autosave, one stroke", lambda: store.save_draft(scan, mask, classes=classes))
        mask[mask == 3] = 2
        timed("autosave, much changed", lambda: store.save_draft(scan, mask, classes=classes))
        draft = next((store.folder / "drafts").glob("*/*.draft"))
        print(f"the draft on disk: {draft.stat().st_size / 1e6:.2f} MB")
        for plane in (150, 151, 152):
            timed("approve one slice", lambda n=plane: store.approve(scan, mask, classes=classes, planes=[n]))
        timed("approve all slices", lambda: store.approve(scan, mask, classes=classes))
        timed("open", lambda: AnnotationStore(store.folder))
        timed("approved planes of this scan", lambda: store.approved_planes(scan))
        timed("verify", store.verify)


if __name__ == "__main__":
    main()

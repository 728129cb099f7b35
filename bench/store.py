"""Time and memory of an annotation store with very many small images.

.venv/bin/python bench/store.py [--images 10000] [--folder DIR]

The images are forged: one is approved, and its files and lines are written again under other names, which
takes seconds where approving each would take a quarter of an hour.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.annotations.journal import with_checksum, without_checksum
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.io import nifti

CLASSES = [ClassInfo(label=1, name="lesion", color="#d62728")]
SHAPE = (32, 32)
assert nifti  # imported before the memory is measured


def make_scan(seed: int) -> Scan:
    values = np.random.default_rng(seed).integers(0, 255, SHAPE).astype(np.uint8)
    return Scan(values, "yx", Geometry.from_spacing("yx"))


def make_mask(value: int = 1) -> NDArray[np.uint8]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[10:20, 10:20] = value
    return mask


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def forge(folder: Path, images: int) -> None:
    """A store with one approval, made into one with very many."""
    with AnnotationStore(folder) as store:
        store.approve(make_scan(0), make_mask(), classes=CLASSES)
    journal = folder / "journal.jsonl"
    classes, case, approval = (without_checksum(line) or {} for line in journal.read_bytes().splitlines())
    (image_file,), (label_file,) = (folder / "imagesTr").iterdir(), (folder / "labelsTr").iterdir()
    image, label = image_file.read_bytes(), label_file.read_bytes()
    image_file.unlink()
    label_file.unlink()
    lines, states = [classes], {}
    for number in range(images):
        name = f"scan-{sha256(b'%d' % number)[:12]}"
        file = f"{name}_0000.nii.gz"
        lines.append({**case, "line": len(lines) + 1, "name": name, "pixels": sha256(b"pixels %d" % number),
                      "files": {file: sha256(image)}})  # fmt: skip
        lines.append({**approval, "line": len(lines) + 1, "case": name})
        (folder / "imagesTr" / file).write_bytes(image)
        (folder / "labelsTr" / f"{name}.nii.gz").write_bytes(label)
        states[name] = {"of": str(len(lines)), "sha256": sha256(label)}
    journal.write_text("".join(f"{with_checksum(line)}\n" for line in lines))
    dataset = json.loads((folder / "dataset.json").read_text())
    dataset["latentseg"]["labels"] = states
    dataset["numTraining"] = images
    (folder / "dataset.json").write_text(json.dumps(dataset))


def memory_mb() -> float:
    """Memory of this process now (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder unless given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as root:
        folder = Path(root) / "annotations"
        forge(folder, given.images)
        before = memory_mb()

        def timed(name: str, do: Callable[[], object]) -> object:
            begun, worked = time.perf_counter(), time.process_time()
            result = do()
            wall, own = time.perf_counter() - begun, time.process_time() - worked
            memory = memory_mb() - before
            print(
                f"{name:32s} {wall:6.3f} s, of which {own:6.3f} s on the processor; memory +{memory:.0f} MB"
            )
            return result

        store = timed("open", lambda: AnnotationStore(folder))
        assert isinstance(store, AnnotationStore)
        assert store.notes == (), store.notes
        with store:
            timed("what is approved, in words", store.approved_in_words)
            timed("approved slices of an image", lambda: store.approved_planes(make_scan(0)))
            new = make_scan(1)
            timed("first autosave", lambda: store.save_draft(new, make_mask(), classes=CLASSES))
            timed("autosave", lambda: store.save_draft(new, make_mask(0), classes=CLASSES))
            for seed in range(1, 4):
                scan = make_scan(seed)
                timed("approve", lambda scan=scan: store.approve(scan, make_mask(), classes=CLASSES))
            approval = store.approvals()[-1]
            timed("take back", lambda: store.revoke(approval))
            timed("verify", store.verify)


if __name__ == "__main__":
    main()

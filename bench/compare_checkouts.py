"""Do two checkouts give the same masks? Segment, evaluate and fine-tune with each on fixed seeds.

    python bench/compare_checkouts.py OTHER-CHECKOUT        # this checkout against another one

Each checkout runs in processes of its own, with the same Python and the same generated images, so that
nothing but the code differs. Prints one line a comparison and exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

HERE = Path(__file__).resolve().parent.parent
MODELS = ("breast-ultrasound", "retina-vessels")
TRAINING_STEPS = 12  # enough for every weight that learns to have moved, a minute on two cores

MAKE_IMAGES = """
import sys, numpy as np
from pathlib import Path
from PIL import Image
import nibabel
out = Path(sys.argv[1])
rng = np.random.default_rng(0)
rows, columns = np.mgrid[:160, :192]
for part in ("images", "masks"):
    (out / "data" / part).mkdir(parents=True)
for number in range(6):
    y, x = rng.uniform(0.35, 0.65, 2) * (160, 192)
    a, b = rng.uniform(0.15, 0.3, 2) * (160, 192)
    mask = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
    image = np.clip(140 - 90 * mask + rng.normal(0, 18, mask.shape), 0, 255).astype(np.uint8)
    Image.fromarray(image).save(out / "data" / "images" / f"case_{number}.png")
    Image.fromarray((255 * mask).astype(np.uint8)).save(out / "data" / "masks" / f"case_{number}.png")
volume = rng.gamma(2.0, 40.0, (36, 50, 34)).astype(np.float32)
volume[10:26, 15:35, 8:26] *= 0.4
nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.0, 1.0, 1.2, 1.0])), out / "volume.nii.gz")
"""

FINE_TUNE = """
import sys
from pathlib import Path
try:
    from napari_latentseg.finetuning.job import FineTuneJob
except ModuleNotFoundError:  # before the package finetuning
    from napari_latentseg.training.finetune import FineTuneJob
base, data, out, steps = sys.argv[1:]
for event in FineTuneJob(base, data, Path(out), steps=int(steps), seed=3, minutes=60, name="compared"):
    pass
"""

EVALUATE = """
import json, sys
from pathlib import Path

from napari_latentseg.api import evaluate

model, data, out = sys.argv[1:]
Path(out).write_text(json.dumps(evaluate(model, data, samples=3).to_json()))
"""


def python(checkout: Path, home: Path, *arguments: str) -> None:
    """Run this Python with the package of one checkout; one thread, so that sums have one order."""
    env = os.environ | {
        "PYTHONPATH": str(checkout / "src"),
        "NAPARI_LATENTSEG_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=home, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(arguments[:4])} failed:\n{done.stdout}{done.stderr}")


def run_all(checkout: Path, images: Path, out: Path) -> None:
    """Everything that is compared, into `out`."""
    home = out / "home"
    home.mkdir(parents=True)
    latentseg = ("-m", "napari_latentseg")
    for name in MODELS:
        image = images / "data" / "images" / "case_0.png"
        python(checkout, home, *latentseg, "segment", str(image), "--model", name, "--samples", "4",
               "--seed", "1", "--out", str(out / f"segment-{name}"))  # fmt: skip
    python(checkout, home, *latentseg, "segment", str(images / "volume.nii.gz"), "--model", "hippocampus-mr",
           "--samples", "3", "--seed", "2", "--out", str(out / "segment-hippocampus-mr"))  # fmt: skip
    # the command line of earlier checkouts has other names for the file of `evaluate`
    python(checkout, home, "-c", EVALUATE, MODELS[0], str(images / "data"), str(out / "evaluate.json"))
    candidate = out / "candidate"
    python(
        checkout, home, "-c", FINE_TUNE, MODELS[0], str(images / "data"), str(candidate), str(TRAINING_STEPS)
    )
    image = images / "data" / "images" / "case_1.png"
    python(checkout, home, *latentseg, "segment", str(image), "--model", str(candidate), "--samples", "4",
           "--seed", "1", "--out", str(out / "segment-candidate"))  # fmt: skip


def values(path: Path) -> np.ndarray:
    if path.suffix == ".tif":
        return np.asarray(tifffile.imread(path))
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)


def compare(ours: Path, theirs: Path) -> bool:
    """Print a line for each result; whether all of them are the same."""
    same = True
    results = sorted(p for p in theirs.rglob("*") if p.name.endswith((".tif", ".nii.gz")))
    for path in results:
        name = path.relative_to(theirs)
        a, b = values(ours / name), values(path)
        equal = (
            a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
        largest = "" if equal or a.shape != b.shape else f", largest difference {np.abs(a - 1.0 * b).max():g}"
        print(f"{'same' if equal else 'DIFFERENT'}  {name} {b.shape}{largest}")
        same &= equal
    scores, other = (json.loads((d / "evaluate.json").read_text("utf-8"))["mean"] for d in (ours, theirs))
    print(
        f"{'same' if scores == other else 'DIFFERENT'}  evaluate: {scores} {'' if scores == other else other}"
    )
    if not results:
        raise SystemExit("nothing was compared")
    return same and scores == other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of another commit")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="compare-checkouts-") as folder:
        work = Path(folder)
        images = work / "images"
        subprocess.run([sys.executable, "-c", MAKE_IMAGES, str(images)], check=True)
        run_all(HERE, images, work / "ours")
        run_all(arguments.other.resolve(), images, work / "theirs")
        if not compare(work / "ours", work / "theirs"):
            sys.exit(1)


if __name__ == "__main__":
    main()

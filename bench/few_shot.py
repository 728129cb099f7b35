"""A new structure from a few images: taught to the model that is pointed at, and to the nearest embedded one.

    python bench/few_shot.py --data DIR --prompted MODEL --json FILE

DIR holds `ph2`, `kvasir_seg` and `drive`, none of which either model was trained on. With 5 and 10 images,
two minutes each; scored on up to 30 other images of the set with one pass, at the size of the files. The
images are drawn with a seed. Both models are taught the same images for the same time.

With `--processor` the minutes are those of the processor, in one thread, so that other programs on the
machine take nothing from them. Two cores that are free do more in two minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import torch

from finetune import part
from napari_latentseg.api import evaluate, finetune

NEAREST = {"ph2": "breast-ultrasound", "kvasir_seg": "breast-ultrasound", "drive": "retina-vessels"}
STRUCTURE = {"ph2": "mole", "kvasir_seg": "polyp", "drive": "vessel"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prompted", default="any-structure")
    parser.add_argument("--sets", nargs="+", default=list(NEAREST))
    parser.add_argument("--counts", nargs="+", type=int, default=[5, 10])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--processor", action="store_true", help="Minutes of the processor, in one thread.")
    parser.add_argument("--seed", type=int, default=0, help="Draws the images.")
    parser.add_argument("--images", type=int, default=30, help="How many others are scored, at most.")
    parser.add_argument("--alone", action="store_true", help="Leave the nearest embedded model out.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.processor:
        torch.set_num_threads(1)
        time.perf_counter = time.process_time  # what a fine-tuning measures its minutes by
    rows = []
    for name in given.sets:
        names = sorted(path.stem for path in (given.data / name / "images").iterdir())
        random.Random(given.seed).shuffle(names)
        for count in given.counts:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                taught = part(given.data / name, names[:count], folder / "taught")
                unseen = part(given.data / name, names[count : count + given.images], folder / "unseen")
                row: dict[str, object] = {"set": name, "taught": count}
                bases = [(given.prompted, STRUCTURE[name])]
                if not given.alone:
                    bases.insert(0, (NEAREST[name], None))
                for base, structure in bases:
                    used = time.process_time()
                    tuned = finetune(
                        base, taught, folder / Path(str(base)).name, minutes=given.minutes,
                        structure=structure, name=f"bench-{Path(str(base)).name}",
                    )  # fmt: skip
                    spent = round(time.process_time() - used)
                    report = evaluate(tuned.folder, unseen, source="none", samples=1)
                    key = "any structure" if structure else "nearest"
                    row |= {key: round(report.mean.dsc, 4), "images": report.image_count,
                            f"{key}: processor seconds": spent,
                            f"{key}: works on": tuned.card.preprocess.describe()}  # fmt: skip
                rows.append(row)
                print(row, flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

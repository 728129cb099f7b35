"""A new structure from a few images: taught to the model that is pointed at, and to the nearest embedded one.

    python bench/few_shot.py --data DIR --prompted MODEL --json FILE

DIR holds `ph2`, `kvasir_seg` and `drive`, none of which either model was trained on. With 5 and 10 images,
two minutes each; scored on up to 30 other images of the set with one pass, at the size of the files. The
images are drawn with seed 0. Both models are taught the same images for the same time.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from finetune import part
from napari_latentseg.api import evaluate, finetune

NEAREST = {"ph2": "breast-ultrasound", "kvasir_seg": "breast-ultrasound", "drive": "retina-vessels"}
STRUCTURE = {"ph2": "mole", "kvasir_seg": "polyp", "drive": "vessel"}
MOST_SCORED = 30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prompted", default="any-structure")
    parser.add_argument("--sets", nargs="+", default=list(NEAREST))
    parser.add_argument("--counts", nargs="+", type=int, default=[5, 10])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for name in given.sets:
        names = sorted(path.stem for path in (given.data / name / "images").iterdir())
        random.Random(0).shuffle(names)
        for count in given.counts:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                taught = part(given.data / name, names[:count], folder / "taught")
                unseen = part(given.data / name, names[count : count + MOST_SCORED], folder / "unseen")
                row: dict[str, object] = {"set": name, "taught": count}
                for base, structure in ((NEAREST[name], None), (given.prompted, STRUCTURE[name])):
                    tuned = finetune(
                        base, taught, folder / Path(str(base)).name, minutes=given.minutes,
                        structure=structure, name=f"bench-{Path(str(base)).name}",
                    )  # fmt: skip
                    report = evaluate(tuned.folder, unseen, source="none", samples=1)
                    key = "any structure" if structure else "nearest"
                    row |= {key: round(report.mean.dsc, 4), "images": report.image_count}
                rows.append(row)
                print(row, flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

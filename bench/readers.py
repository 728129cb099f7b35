"""The readers of a data set beside a model's samples, image by image: the figures of `compare_readers`.

    python bench/readers.py DATA/chase_db1 --model retina-vessels --readers masks,masks_2nd --samples 4
    python bench/lidc_readers.py prepare DATA CROPS
    python bench/readers.py CROPS/lidc_four_readers --model docs/trainings/lung-nodules-medseglatdiff \\
        --readers auto --samples 20

Means over the images that the model was trained on, and over the others. Pairs of readers of whom both
marked nothing count with a Dice of 1, as everywhere; a correlation is left out where there is none.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg import ReaderComparison, compare_readers, load_model, locate_model, segment
from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.readers import parse_readers, with_readers
from napari_latentseg.models.split import read_split


def figures_of(comparison: ReaderComparison) -> dict[str, float | None]:
    model = comparison.model
    assert model is not None
    with_model = [pair for pair in model.pairs if pair.first != "consensus"]

    def mean(pairs: Any, name: str) -> float:
        return float(np.mean([getattr(pair, name) for pair in pairs]))

    (row,) = model.agreements
    figures: dict[str, float | None] = {}
    for name in ("dsc", "hd95", "surface_dice"):
        figures[f"readers {name}"] = mean(comparison.pairs, name)
        figures[f"model and reader {name}"] = mean(with_model, name)
    return figures | {
        "ged2": row.agreement.ged2,
        "readers' E d": row.agreement.reader_distance,
        "samples' E d": row.agreement.sample_distance,
        "matched IoU": row.agreement.matched_iou,
        "correlation": row.correlation,
        "correlation everywhere": row.correlation_everywhere,
        "mean disagreement": float(comparison.disagreement.mean()),
        "mean variance": None if model.maps.variance is None else float(model.maps.variance.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--readers", default="auto")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--tolerance", type=float)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_model(args.model)
    split = read_split(locate_model(args.model).folder)
    cases = with_readers(find_cases(args.data), args.data, parse_readers(args.readers))
    parts = {case.name: "trained on" if split.part_of(case) == "train" else "others" for case in cases}
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: parts[case.name]):  # those that the model never saw first
        part = parts[case.name]
        scan = case.read_scan()
        result = segment(scan, model, samples=args.samples)
        comparison = compare_readers(
            case.reader_mask_files, result=result, consensus="staple", tolerance=args.tolerance
        )
        rows[part].append({"name": case.name, **figures_of(comparison)})
        print(part, json.dumps(rows[part][-1]), flush=True)
    summary = {}
    for part, images in rows.items():
        names = [name for name in images[0] if name != "name"]
        values = {name: [row[name] for row in images if row[name] is not None] for name in names}
        summary[part] = {"images": len(images)} | {
            name: round(float(np.mean(numbers)), 4) for name, numbers in values.items() if numbers
        }
    print(json.dumps(summary, indent=1))
    if args.json:
        args.json.write_text(json.dumps({"summary": summary, "images": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

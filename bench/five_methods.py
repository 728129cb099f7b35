"""One image segmented by all five methods: docs/images/five-methods.png and its figures.

Every method is trained on the same synthetic ultrasound phantoms, starting from the embedded codec only,
with its `small` configuration, and segments the same new phantoms. This shows how each method works, on data
that anybody can generate. It is no ranking: the phantoms are easy, and the trainings short.

    python bench/five_methods.py --out docs/images/five-methods.png --json FILE
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from napari_latentseg.api import evaluate, load_model, segment, train
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.sample_data import SampleImage, ultrasound_phantom
from napari_latentseg.training.config_files import load_config

SHAPE = (96, 120)
LEARNT, NEW = 120, 20
SIZE = 64
AUGMENT = {
    "horizontal_flip": 0.5, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0.5, "saturation": 0, "hue": 0,
    "affine": 0.9, "shift": 0.15, "scale": 0.3, "rotate": 20,
}  # fmt: skip
# Changes to the small configuration: training lengths that fit these data.
CHANGES: dict[str, dict[str, Any]] = {
    "gms": {"epochs": 40, "cache_latents": False, "augment_variants": 0},
    "wave-gms": {"epochs": 40},
    "sdseg": {"epochs": 80, "card": {"default_samples": 8}},
    "medseglatdiff": {"epochs": 160, "card": {"default_samples": 8}},
    "guided": {"epochs": 80, "card": {"default_samples": 8}},
}


def write_phantoms(folder: Path, seeds: range) -> None:
    """Write `images/` and `masks/` of phantoms."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for seed in seeds:
        sample = ultrasound_phantom(seed, SHAPE)
        assert sample.reference is not None
        Image.fromarray(np.asarray(sample.scan.array)).save(folder / "images" / f"phantom_{seed}.png")
        Image.fromarray(255 * sample.reference).save(folder / "masks" / f"phantom_{seed}.png")


def settings_for(method: str) -> dict[str, Any]:
    """The small configuration of a method, for the phantoms."""
    config = load_config(f"{method}-small").model_dump(mode="json")
    changes = dict(CHANGES[method])
    config["preprocess"] = {"mode": "whole", "size": SIZE}
    config["augment"] = AUGMENT
    config["split"] = {"fraction": 0.1, "seed": 0}
    config["card"] = config["card"] | changes.pop("card", {}) | {"data_name": "generated phantoms"}
    config["select"], config["validate_every"] = "last", 1000
    if "stages" in config and "autoencoders" in config["stages"]:
        config["stages"]["autoencoders"] |= {"epochs": 30, "validate_every": 1000}
    return config | changes


def outlined(image: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Image.Image:
    """The image with the boundary of the reference in orange."""
    inside = truth > 0
    core = inside.copy()
    for axis in (0, 1):
        for step in (1, -1):
            core &= np.roll(inside, step, axis)
    rgb = np.repeat(image[..., None], 3, axis=2)
    rgb[inside & ~core] = (255, 150, 0)
    return Image.fromarray(rgb)


def grey(values: NDArray[np.float32], most: float) -> Image.Image:
    """Grey levels: black for 0, white for `most`."""
    return Image.fromarray((255 * np.clip(values / most, 0, 1)).astype(np.uint8)).convert("RGB")


def draw(sample: SampleImage, rows: list[tuple[str, Segmentation, float]], out: Path) -> None:
    """One row for each method: reference, mask, mean, variance."""
    assert sample.reference is not None
    scale, pad, head, left = 2, 8, 30, 240
    height, width = (scale * n for n in SHAPE)
    columns = ("reference (outline)", "mask (outline)", "mean, 0 to 1", "variance, 0 to 0.25")
    size = (left + len(columns) * (width + pad), head + len(rows) * (height + pad))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for i, title in enumerate(columns):
        pen.text((left + i * (width + pad), 6), title, fill="black", font=font)
    image = np.asarray(sample.scan.array)
    for j, (name, found, dsc) in enumerate(rows):
        top = head + j * (height + pad)
        source = "test-time augmentation" if found.record.source == "augment" else found.record.source
        text = (
            f"{name}\n\n{found.record.samples} samples,\nfrom {source}\n\n"
            f"mean Dice {dsc:.2f}\non {NEW} other phantoms"
        )
        pen.text((8, top + 24), text, fill="black", font=font)
        pictures = [outlined(image, sample.reference), outlined(image, found.mask), grey(found.mean[0], 1)]
        if found.variance is not None:
            pictures.append(grey(found.variance[0], 0.25))
        for i, picture in enumerate(pictures):
            large = picture.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(large, (left + i * (width + pad), top))
    sheet.save(out, optimize=True)


def main() -> None:
    """Train, segment and draw; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--models", type=Path, help="Folder for the models; those in it are used again.")
    given = parser.parse_args()
    shown = ultrasound_phantom(1000, SHAPE)
    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as name:
        work, models = Path(name), given.models or Path(name)
        write_phantoms(work / "learnt", range(LEARNT))
        write_phantoms(work / "new", range(1000, 1000 + NEW))
        for method in CHANGES:
            (work / f"{method}.json").write_text(json.dumps(settings_for(method)))
            if not (models / method).exists():
                train(work / "learnt", models / method, config=work / f"{method}.json")
            run = json.loads((models / method / "training.json").read_text())["run"]
            model = load_model(models / method)
            found = segment(shown.scan, model, samples=8)
            report = evaluate(model, work / "new", samples=8)
            figures[method] = {
                "dsc": report.mean.dsc,
                "source": found.record.source,
                "training_seconds": run["seconds"],
                "variant": model.card.deviations_from_paper,
            }
            print(method, figures[method], flush=True)
            rows.append((model.card.method_title.split(" (")[0], found, report.mean.dsc))
    draw(shown, rows, given.out)
    given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Samples of MedSegLatDiff as a group of readers: LIDC-IDRI nodules, and cross-validation over patients.

    python bench/lidc_readers.py prepare DATA OUT
    python bench/lidc_readers.py folds OUT --config medseglatdiff-lidc-readers-small [--folds 2] [--json FILE]

`prepare` writes two data sets of one scale, crops of 50 x 50 pixels of the scanner, with masks of four
readers beside the consensus. Of `lidc_four_readers` it takes the middle of the crops of 128 x 128. Of
`lidc_nodules` only the union and the intersection of the readers' masks are known: the readers between them
are made by interpolating the distance from their outlines.

`folds` trains the autoencoders once, on `lidc_nodules` alone, and the diffusion once for each fold: on
`lidc_nodules` and the patients of the other folds. The samples of the patients kept apart are compared with
their readers' masks at the size of the files, and so are masks that ignore the image: those of the readers of
the fold's training patients. As far as the file names of `lidc_four_readers` tell, every image is a patient.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.readers import with_readers
from napari_latentseg.data.resize import resize
from napari_latentseg.data.slices import Slice
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.evaluation.readers import ReaderAgreement, mean_agreement, reader_agreement
from napari_latentseg.methods.medseglatdiff import MedSegLatDiff, MedSegLatDiffConfig
from napari_latentseg.methods.registry import build_method
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.utils.device import Compute

NODULES, FOUR_READERS = "lidc_nodules", "lidc_four_readers"
OTHERS = "masks of other patients' readers"
SIDE = 50
READERS = 4
COMPUTE = Compute("cpu", "float32")


def read_mask(path: Path) -> NDArray[np.bool_]:
    return np.asarray(Image.open(path).convert("L")) > 127


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(path)


def signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance from the outline in pixels, negative inside; an empty mask is far from everywhere."""
    if not mask.any():
        return np.full(mask.shape, float(sum(mask.shape)))
    outside: NDArray[np.float64] = distance_transform_edt(~mask)
    inside: NDArray[np.float64] = distance_transform_edt(mask)
    return outside - inside


def between(inner: NDArray[np.bool_], outer: NDArray[np.bool_], fraction: float) -> NDArray[np.bool_]:
    """The outline at a fraction of the way from one mask to another that holds it."""
    if fraction in (0, 1):
        return outer if fraction else inner
    mixed = (1 - fraction) * signed_distance(inner) + fraction * signed_distance(outer)
    return ((mixed < 0) | inner) & outer


def prepare(data: Path, out: Path) -> None:
    for path in sorted((data / NODULES / "images").iterdir()):
        target = out / NODULES
        (target / "images").mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").save(target / "images" / path.name)
        outer = read_mask(data / NODULES / "masks" / path.name)
        inner = read_mask(data / NODULES / "masks_intersection" / path.name) & outer
        for number in range(READERS):
            mask = between(inner, outer, number / (READERS - 1))
            write_mask(target / f"masks_r{number + 1}" / path.name, mask)
        write_mask(target / "masks" / path.name, between(inner, outer, 0.5))
    for path in sorted((data / FOUR_READERS / "images").iterdir()):
        target, name = out / FOUR_READERS, f"{path.stem}.png"
        image = np.asarray(Image.open(path).convert("L"))
        window = tuple(slice((side - SIDE) // 2, (side + SIDE) // 2) for side in image.shape)
        (target / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[window]).save(target / "images" / name)
        for folder in ("masks", *(f"masks_r{number + 1}" for number in range(READERS))):
            write_mask(target / folder / name, read_mask(data / FOUR_READERS / folder / name)[window])


def trained(
    config: TrainingConfig, data: Dataset, log: list[dict[str, Any]], stage: str, method: MedSegLatDiff | None
) -> MedSegLatDiff:
    """A method with one more stage trained; the other stage is left out."""
    trainer = Trainer(config, data, None, COMPUTE)
    built = trainer.method
    assert isinstance(built, MedSegLatDiff)
    if method is not None:
        built.load_state_dict(method.state_dict())
    (chosen,) = (s for s in built.stages() if s.name == stage)
    built.stages = lambda: [chosen]  # type: ignore[method-assign]
    for event in trainer.run():
        log.append({"stage": stage, "epoch": event.epoch, **event.losses, "seconds": event.seconds})
        if event.epoch % 10 == 0:
            print(log[-1], flush=True)
    return built


def samples_of(
    method: MedSegLatDiff, image: NDArray[np.float32], count: int, seed: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Probabilities `(count, H, W)` at the size of the file."""
    tensor = torch.from_numpy(image)[None].expand(count, -1, -1, -1)
    with torch.inference_mode():
        drawn = next(iter(method.sample_many(tensor, 1, torch.Generator().manual_seed(seed))))
    resized: NDArray[np.float32] = resize(drawn[:, 0].numpy(), shape)
    return resized


def with_sampler(method: MedSegLatDiff, **settings: object) -> MedSegLatDiff:
    """The same weights with other settings of the sampler."""
    config = MedSegLatDiffConfig.model_validate(method.config.model_dump() | settings)
    other = build_method("medseglatdiff", None, config.model_dump())
    assert isinstance(other, MedSegLatDiff)
    other.load_state_dict(method.state_dict())
    return other.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("data", type=Path)
    preparing.add_argument("out", type=Path)
    folding = commands.add_parser("folds")
    folding.add_argument("data", type=Path, help="from prepare")
    folding.add_argument("--config", default="medseglatdiff-lidc-readers-small")
    folding.add_argument("--folds", type=int, default=2)
    folding.add_argument("--only", type=int, help="train this fold alone, and keep it")
    folding.add_argument("--samples", type=int, default=20)
    folding.add_argument("--sampler", action="append", type=json.loads, help='such as {"eta": 0}', default=[])
    folding.add_argument("--keep", type=Path, help="write the weights of the autoencoders and folds here")
    folding.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.command == "prepare":
        prepare(args.data, args.out)
        return
    report = cross_validate(args)
    print(json.dumps({key: report[key] for key in ("mean", "dsc_of_mean", "model_minus_others")}, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def cross_validate(args: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    config = load_config(args.config)
    whole = read_dataset([args.data / NODULES, args.data / FOUR_READERS], config)
    slices = [*whole.train, *whole.validation]
    nodules = [s for s in slices if s.dataset == NODULES]
    cases = with_readers(find_cases(args.data / FOUR_READERS), args.data / FOUR_READERS)
    slice_of = {s.content_sha256: s for s in slices if s.dataset == FOUR_READERS}
    order = np.random.default_rng(0).permutation(len(cases))
    log: list[dict[str, Any]] = []
    start = time.process_time()
    # validation takes time and decides nothing: the weights are the last
    quick = config.replace(validate_planes=1)
    base = stored(args.keep, "autoencoders", quick)
    if base is None:
        data = Dataset(nodules, nodules[:1])
        base = trained(quick, data, log, "autoencoders", None)
        keep(args.keep, "autoencoders", base)
    results: dict[str, list[ReaderAgreement]] = {}
    dsc: dict[str, list[float]] = {}
    for fold in range(args.folds):
        held_out = set(order[fold :: args.folds].tolist())
        others = [case for i, case in enumerate(cases) if i not in held_out]
        training = [*nodules, *(slice_of[case.content_sha256] for case in others)]
        name = f"fold-{fold}-of-{args.folds}"
        if args.only not in (None, fold):
            continue
        method = stored(args.keep, name, quick)
        if method is None:
            method = trained(quick, Dataset(training, nodules[:1]), log, "diffusion", base)
            keep(args.keep, name, method)
        other_masks = np.concatenate([readers_of(case) for case in others])
        for i in sorted(held_out):
            case, held_slice = cases[i], slice_of[cases[i].content_sha256]
            readers = readers_of(case)
            consensus = read_mask(mask_path(case.mask_file))
            answers = {OTHERS: other_masks, "empty": np.zeros_like(readers)}
            for settings in ({}, *args.sampler):
                drawn = answers_of(method, held_slice, args.samples, 1000 * i, readers.shape[1:], settings)
                key = "model" + (f" {json.dumps(settings)}" if settings else "")
                answers[key] = drawn > 0.5
                answers[f"{key}, 5 samples"] = drawn[:5] > 0.5
                dsc.setdefault(key, []).append(float(dice(drawn.mean(0) > 0.5, consensus)))
            for key, masks in answers.items():
                results.setdefault(key, []).append(reader_agreement(masks, readers))
    differences = np.array([a.ged2 - b.ged2 for a, b in zip(results["model"], results[OTHERS], strict=True)])
    resampled = np.random.default_rng(0).choice(differences, (10_000, len(differences))).mean(axis=1)
    mean = {key: mean_agreement(agreements).model_dump() for key, agreements in results.items()}
    return {
        "config": args.config, "folds": args.folds, "images": len(cases), "samples": args.samples,
        "process_seconds": round(time.process_time() - start), "mean": mean,
        "model_minus_others": [float(differences.mean()), *np.percentile(resampled, [2.5, 97.5]).tolist()],
        "dsc_of_mean": {key: float(np.mean(values)) for key, values in dsc.items()},
        "images_ged2": {key: [a.ged2 for a in agreements] for key, agreements in results.items()},
        "log": log,
    }  # fmt: skip


def answers_of(
    method: MedSegLatDiff,
    held_slice: Slice,
    count: int,
    seed: int,
    shape: tuple[int, ...],
    settings: dict[str, Any],
) -> NDArray[np.float32]:
    image, _ = held_slice.to_float()
    height, width = shape
    return samples_of(with_sampler(method, **settings), image.numpy(), count, seed, (height, width))


def readers_of(case: Any) -> NDArray[np.bool_]:
    return np.stack([read_mask(path) for path in case.reader_mask_files])


def mask_path(path: Path | None) -> Path:
    assert path is not None
    return path


def stored(folder: Path | None, name: str, config: TrainingConfig) -> MedSegLatDiff | None:
    """A method whose weights were kept."""
    if folder is None or not (folder / f"{name}.pt").is_file():
        return None
    method = build_method("medseglatdiff", None, config.settings)
    assert isinstance(method, MedSegLatDiff)
    method.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return method.eval()


def keep(folder: Path | None, name: str, method: MedSegLatDiff) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(method.state_dict(), folder / f"{name}.pt")


if __name__ == "__main__":
    main()

"""nnU-Net through its own Python functions: fingerprint, plan, preprocessing, trainer and predictor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_latentseg.core.scan import Scan
from napari_latentseg.data.resize import resize, resize_labels
from peer_models.budget import MIN_STEPS, CpuBudget, fitting_batch, polynomial_factor
from peer_models.data import ImageCase, Images
from peer_models.scoring import Trained

NAME, NUMBER = "Dataset001_Peers", 1
# Gigabytes of a graphics card to plan for, which bound patch and batch: nnU-Net's default, and the least.
DEFAULT_MEMORY, LEAST_MEMORY = 8.0, 0.01
PLAIN_SPACING = (999.0, 1.0, 1.0)  # what nnU-Net gives an image without spacing


def train_nnunet(configuration: str, images: Images, budget: CpuBudget, seed: int, work: Path) -> Trained:
    """Train a configuration of nnU-Net's plan, ``"2d"`` or ``"3d_fullres"``."""
    for part in ("raw", "preprocessed", "results"):
        (work / part).mkdir()
        os.environ[f"nnUNet_{part}"] = str(work / part)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1"}
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        preprocess_dataset,
    )
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    is_volume = len(images.train[0].case.read_scan().spatial_axes) > 2
    dataset = _write(images, work / "raw" / NAME, is_volume=is_volume)
    extract_fingerprint_dataset(NUMBER, num_processes=1, show_progress_bar=False)
    plans = _fitting_plan(configuration, dataset, budget, images.config.preprocess.size)
    preprocess_dataset(NUMBER, configurations=(configuration,), num_processes=[1], show_progress_bar=False)
    np.random.seed(seed)  # noqa: NPY002, nnU-Net draws from it
    torch.manual_seed(seed)
    trainer = _trainer(plans, configuration, dataset)
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112, augmentation in this process, whose time is counted
    trainer.on_train_start()
    steps = 0
    while budget.is_left:
        with budget.counting():
            for group in trainer.optimizer.param_groups:
                group["lr"] = trainer.initial_lr * polynomial_factor(budget.share)
            trainer.network.train()
            loss = float(trainer.train_step(next(trainer.dataloader_train))["loss"])
        if not np.isfinite(loss):
            raise RuntimeError("the loss is no longer a number")
        steps += 1
    trainer.set_deep_supervision_enabled(False)
    network = trainer.network.eval()
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        network, trainer.plans_manager, trainer.configuration_manager, [network.state_dict()], dataset,
        "nnUNetTrainer", trainer.inference_allowed_mirroring_axes,
    )  # fmt: skip

    def probabilities(scan: Scan) -> NDArray[np.float32]:
        array, spacing = _volume(scan) if is_volume else (_picture(images, scan), PLAIN_SPACING)
        _, means = predictor.predict_single_npy_array(
            array, {"spacing": list(spacing)}, None, None, save_or_return_probabilities=True
        )
        means = np.asarray(means[1:], dtype=np.float32)
        if is_volume:
            return means
        return resize(np.ascontiguousarray(means[:, 0]), scan.spatial_shape[-2:]).clip(0, 1)

    plan = plans["configurations"][configuration]
    patch = " x ".join(map(str, plan["patch_size"]))
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Trained(probabilities, trainable, steps, plan["batch_size"], f"patches of {patch}, mirrored")


def _write(images: Images, folder: Path, *, is_volume: bool) -> dict[str, Any]:
    """Write the training images as nnU-Net reads them; returns `dataset.json`."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    channels = 1
    for number, image in enumerate(images.train):
        name = f"case_{number:04}"
        scan = image.case.read_scan()
        paths = folder / "imagesTr" / f"{name}_0000", folder / "labelsTr" / name
        if is_volume:
            _write_volume(scan, image, *paths)
        else:
            picture = _picture(images, scan)
            channels = len(picture)
            numbers = resize_labels(image.class_numbers(scan.spatial_shape), picture.shape[-2:])
            pixels = picture[:, 0].transpose(1, 2, 0).astype(np.uint8)
            Image.fromarray(pixels.squeeze()).save(paths[0].with_suffix(".png"))
            Image.fromarray(numbers).save(paths[1].with_suffix(".png"))
    names = [c.name for c in images.classes]
    dataset = {
        "channel_names": {str(i): f"channel {i}" for i in range(channels)},
        "labels": {"background": 0} | {name: i for i, name in enumerate(names, start=1)},
        "numTraining": len(images.train),
        "file_ending": ".nii.gz" if is_volume else ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(dataset), "utf-8")
    return dataset


def _volume(scan: Scan) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """The values of a volume `(1, z, y, x)` and the distances of its voxels."""
    return np.asarray(scan.array, dtype=np.float32)[None], tuple(scan.geometry.spacing)


def _write_volume(scan: Scan, image: ImageCase, image_path: Path, mask_path: Path) -> None:
    import SimpleITK as sitk

    array, spacing = _volume(scan)
    for values, path in ((array[0], image_path), (image.class_numbers(array.shape[1:]), mask_path)):
        picture = sitk.GetImageFromArray(values)
        picture.SetSpacing([float(step) for step in reversed(spacing)])
        sitk.WriteImage(picture, f"{path}.nii.gz")


def _picture(images: Images, scan: Scan) -> NDArray[np.float32]:
    """An image at our working size, `(C, 1, h, w)` from 0 to 255; one channel where all images are grey."""
    preprocess = images.config.preprocess
    planes = preprocess.planes(scan)
    plane = np.round(planes[0] * 255).transpose(2, 0, 1)
    channels = 3 if _has_colour(images) else 1
    size = preprocess.working_size(*plane.shape[1:], planes.spacing)
    resized = resize(np.ascontiguousarray(plane[:channels]), size)
    return resized.round().clip(0, 255)[:, None]


def _has_colour(images: Images) -> bool:
    """Whether a training image has colours; asked of the slices, which are in memory."""
    first = images.slices.train[0].image
    return bool((first[0] != first[1]).any()) or any(
        bool((s.image[0] != s.image[1]).any()) for s in images.slices.train[1:50]
    )


def _trainer(plans: dict[str, Any], configuration: str, dataset: dict[str, Any]) -> Any:
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = nnUNetTrainer(
        plans | {"continue_training": False}, configuration, "all", dataset, torch.device("cpu")
    )
    trainer.disable_checkpointing = True
    trainer.initialize()
    return trainer


def _fitting_plan(
    configuration: str, dataset: dict[str, Any], budget: CpuBudget, our_size: int
) -> dict[str, Any]:
    """nnU-Net's plan with a batch of which enough steps fit into the time.

    The batch is halved, as of the others. Where that is not enough, nnU-Net plans for less memory, and so for
    smaller patches, of which no side becomes shorter than our size.
    """
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiment_dataset

    target, kept, least, timed = DEFAULT_MEMORY, None, None, {}
    while True:
        plans, _ = plan_experiment_dataset(NUMBER, gpu_memory_target_in_gb=target)
        plan = plans["configurations"][configuration]
        patch, planned_batch = tuple(plan["patch_size"]), plan["batch_size"]
        least = least or [min(side, our_size) for side in patch]
        if kept is not None and any(side < limit for side, limit in zip(patch, least, strict=True)):
            return kept
        if patch not in timed:
            timed[patch] = _seconds_per_patch(plans, configuration, dataset)
        plan["batch_size"] = batch = fitting_batch(budget.seconds, timed[patch], planned_batch)
        seconds = batch * timed[patch]
        print(f"for {target:g} GB: patch {patch}, batch {planned_batch}, of which {batch}: {seconds:.2f} s")
        kept = plans
        if budget.seconds / seconds >= MIN_STEPS or target < LEAST_MEMORY:
            return kept
        target /= 2


def _seconds_per_patch(plans: dict[str, Any], configuration: str, dataset: dict[str, Any]) -> float:
    """Processor seconds of the network's forward and backward pass."""
    from time import process_time

    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    channels, labels = len(dataset["channel_names"]), len(dataset["labels"])
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration(configuration), channels, labels, enable_deep_supervision=True
    )
    patch = torch.rand(1, channels, *plans["configurations"][configuration]["patch_size"])
    seconds = []
    for _ in range(2):  # in the first pass torch prepares its convolutions
        start = process_time()
        sum(output.mean() for output in network(patch)).backward()
        seconds.append(process_time() - start)
    return min(seconds)

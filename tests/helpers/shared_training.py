"""Trains each method for a few steps: alone, or as one of several processes.

    python -m tests.helpers.shared_training DATA OUT

The main process writes the gradients of the first batch and the weights after the training to OUT, float32.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.models.store import data_home
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import read_dataset
from napari_latentseg.training.loop import TrainingStep
from napari_latentseg.training.processes import join_processes
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.utils.device import Compute

COMMON: dict[str, Any] = {
    "preprocess": {"mode": "whole", "size": 64},
    "split": {"fraction": 0.3},
    "epochs": 2,
    "batch_size": 5,  # which neither two nor three processes share evenly
    "crops_per_image": 2,
    "warmup_epochs": 1,
    "schedule_by": "step",
    "learning_rate": 1e-3,
    "clip_gradient": 1.0,
}
AUTOENCODER = {"widths": [8, 8, 8], "layers_per_block": 1, "codes": 16, "norm_groups": 4}
GUIDED_AUTOENCODER = {"widths": [8, 8], "layers": 1, "norm_groups": 4, "fold": 2}
UNET = {"widths": [8, 16], "attention": [False, True], "layers_per_block": 1, "norm_groups": 4}
GMS = {"width": 16, "levels": ["out"]}
KINDS: dict[str, dict[str, Any]] = {
    "gms": {"settings": GMS | {"conditioner": "trained"}, "accumulate": 2, "ema_decay": 0.7},
    # batch norms over the batch, and dropout of channels
    "pyramid": {"settings": GMS | {"conditioner": "pyramid"}, "published_weights": "none"},
    "wave-gms": {"method": "wave-gms", "settings": GMS},
    "sdseg": {
        "method": "sdseg",
        "settings": {"denoiser": UNET | {"heads": 2, "dropout": 0.1}, "prediction": "sample", "steps": 2},
    },
    "medseglatdiff": {
        "method": "medseglatdiff", "codec": None,
        "settings": {"autoencoder": AUTOENCODER, "denoiser": UNET | {"head_width": 8}, "steps": 2},
    },
    "guided": {
        "method": "guided", "codec": None,
        "settings": {
            "classes": 1, "mask_autoencoder": GUIDED_AUTOENCODER, "image_autoencoder": GUIDED_AUTOENCODER,
            "denoiser": UNET | {"head_width": 8, "scale_shift": True}, "buckets": 2,
            "diffusion": {
                "timesteps": 10, "beta_schedule": "squaredcos_cap_v2", "prediction": "sample", "steps": 2,
            },
        },
    },
}  # fmt: skip


def train_all(data: Path, out: Path) -> None:
    processes = join_processes("cpu")
    tensors: dict[str, Tensor] = {}
    for kind, changes in KINDS.items():
        config = TrainingConfig.model_validate(COMMON | changes)
        codec: Codec | None = None
        if config.codec:
            codec = load_codec(data_home() / "codecs" / "tiny-codec")
        trainer = Trainer(
            config, read_dataset([data], config), codec, Compute("cpu", "float32"), processes=processes
        )
        gradients: list[dict[str, Tensor]] = []
        update = TrainingStep.update

        def noted_update(step: TrainingStep, gradients: Any = gradients, update: Any = update) -> None:
            if not gradients:
                # as `update` itself does first; the gradients are zero afterwards, and added up once
                step.processes.add_gradients(step.weights)
                gradients.append(
                    {str(i): w.grad.clone() for i, w in enumerate(step.weights) if w.grad is not None}
                )
                for weight in step.weights:
                    if weight.grad is not None and not step.processes.is_main:
                        weight.grad.zero_()
            update(step)

        TrainingStep.update = noted_update  # type: ignore[method-assign]
        try:
            events = list(trainer.run())
        finally:
            TrainingStep.update = update  # type: ignore[method-assign]
        for name, value in gradients[0].items():
            tensors[f"{kind}/gradient/{name}"] = value.contiguous()
        for name, value in trainer.method.trainable_modules.state_dict().items():
            tensors[f"{kind}/weights/{name}"] = value.contiguous()
        losses = [value for event in events for value in [*event.losses.values(), event.dsc or 0.0]]
        tensors[f"{kind}/losses"] = torch.tensor(losses)
    if processes.is_main:
        save_file(tensors, out)


if __name__ == "__main__":
    train_all(Path(sys.argv[1]), Path(sys.argv[2]))

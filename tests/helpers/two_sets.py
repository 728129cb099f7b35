"""Two made data sets of one anatomy, and a small configuration of guided latent diffusion for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["TWO_SETS_CONFIG", "write_set", "write_two_sets"]

_STILL = {"horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}
_AUTOENCODER = {"widths": [8, 8], "layers": 1, "norm_groups": 8, "fold": 2}
TWO_SETS_CONFIG: dict[str, Any] = {
    "method": "guided",
    "codec": None,
    "settings": {
        "classes": 3,
        "mask_autoencoder": _AUTOENCODER,
        "image_autoencoder": _AUTOENCODER,
        "denoiser": {"widths": [8], "layers_per_block": 1, "norm_groups": 8, "head_width": 8},
        "diffusion": {"timesteps": 10, "prediction": "sample", "steps": 2},
        "buckets": 2,
    },
    "preprocess": {"mode": "whole", "size": 32},
    "augment": _STILL,
    "split": {"fraction": 0.3},
    "classes": [
        {"name": "organ", "color": "#ff0000", "includes": ["tumour"]},
        {"name": "tumour", "color": "#00ff00"},
        {"name": "vessel", "color": "#0000ff"},
    ],
    "datasets": {
        "first": {"labels": {"1": "organ", "2": "tumour"}, "name": "First set", "licence": "CC BY 4.0"},
        "second": {
            "labels": {"5": "vessel"}, "group_pattern": "^(p\\d)", "name": "Second set",
            "licence": "CC BY-NC 4.0",
        },
    },
    "epochs": 1, "batch_size": 4, "warmup_epochs": 0, "schedule_by": "step", "learning_rate": 1e-3,
    "validate_planes": 2,
    "card": {"default_samples": 3},
}  # fmt: skip


def write_set(folder: Path, names: list[str], labels: list[int], seed: int) -> Path:
    """Images with a square of the first label in which, or beside which, lies one of each other."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name in names:
        mask = np.zeros((32, 32), dtype=np.uint8)
        top = int(rng.integers(2, 12))
        for number, label in enumerate(labels):
            mask[top + 3 * number : top + 12 - 3 * number, 8 + 3 * number : 24 - 3 * number] = label
        image = np.clip(80 + 20 * mask + rng.normal(0, 8, mask.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


def write_two_sets(root: Path) -> list[Path]:
    """Of the first, six cases with organs and tumours; of the second, four patients with vessels."""
    return [
        write_set(root / "first", [f"case{i}" for i in range(6)], [1, 2], 0),
        write_set(root / "second", [f"p{i // 2}_{i % 2}" for i in range(8)], [5], 1),
    ]

"""Model folders as an attacker, or a broken disk, makes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_latentseg.utils.weights import file_sha256


def change_card(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the card of a model folder, with whatever JSON can hold."""
    path = folder / "card.json"
    card = json.loads(path.read_text("utf-8"))
    change(card)
    path.write_text(json.dumps(card), "utf-8")


def with_overflowing_weights(source: Path, target: Path) -> Path:
    """A copy of a model whose weights are finite, and so large that every product of them overflows."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    path = target / "weights.safetensors"
    save_file(
        {
            name: torch.full_like(tensor, 3e38, dtype=torch.float32)
            for name, tensor in load_file(path).items()
        },
        path,
    )
    change_card(target, lambda card: card["files"].update({path.name: file_sha256(path)}))
    return target

"""OME-Zarr images with metadata of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

SCALE = {"type": "scale", "scale": [3.0, 2.0, 1.0]}
MOVE = {"type": "translation", "translation": [30.0, 20.0, 10.0]}
KINDS = {"t": "time", "c": "channel"}


def image(axes: str = "zyx", steps: Any = (SCALE,), **more: Any) -> dict[str, Any]:
    listed = [{"name": a, "type": KINDS.get(a, "space")} for a in axes]
    return {"axes": listed, "datasets": [{"path": "0", "coordinateTransformations": list(steps)}]} | more


def stored(folder: Path, attributes: dict[str, Any], shape: tuple[int, ...] = (3, 4, 5)) -> Path:
    group = zarr.open_group(folder / "Mustermann.zarr", mode="w")
    for name in ("0", "1"):
        group.create_array(name, data=np.arange(np.prod(shape), dtype=np.uint16).reshape(shape))
    group.attrs["ome"] = attributes
    return folder / "Mustermann.zarr"

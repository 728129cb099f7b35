"""What benchmarks of a model on volumes share: the model on one core, and means with their intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_latentseg.api import load_model
from napari_latentseg.evaluation.bootstrap import Bootstrap, column_means
from napari_latentseg.utils.device import resolve_compute

__all__ = ["on_one_core", "print_means"]


def on_one_core(folder: Path) -> tuple[Any, Any]:
    """A model in float32 on one thread, as figures are to be repeated, and what it computes on."""
    torch.set_num_threads(1)
    model = load_model(folder)
    compute = resolve_compute("cpu", "float32")
    model.to(compute)
    return model, compute


def print_means(
    columns: Sequence[str], rows: Sequence[Sequence[float]], volumes: Sequence[str], path: Path | None
) -> None:
    """Print the mean of each column as JSON, with its bootstrapped interval, and write it to a file.

    Parameters
    ----------
    columns
        What each number of a row is.
    rows
        Of each structure.
    volumes
        The volume of each row, which is drawn as a whole.
    path
        Of the file; None for none.
    """
    table = np.array(rows)
    intervals = Bootstrap(volumes).intervals(table, column_means)
    result = {
        name: {"mean": round(float(mean), 4), "interval": [round(end, 4) for end in interval]}
        for name, mean, interval in zip(columns, table.mean(axis=0), intervals, strict=True)
    }
    print(json.dumps(result, indent=1))
    if path is not None:
        path.write_text(json.dumps({"volumes": len(set(volumes)), **result}, indent=1) + "\n", "utf-8")

"""The images that a model was validated on, from the data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_latentseg.data.cases import Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.models.folder import Model
from napari_latentseg.models.split import read_split
from speed_rows.measure import NotMeasured

DATA_SETS = {"hippocampus-mr": "msd_hippocampus", "breast-ultrasound": "busi", "retina-vessels": "chase_db1"}


def validation_cases(model: Model, data: Path) -> list[Case]:
    """The images that a model was validated on, each once."""
    folder = data / DATA_SETS[model.card.name]
    if not folder.is_dir():
        raise NotMeasured(f"there is no folder {folder.name} in --data")
    split = read_split(model.folder)
    cases = (case for case in find_cases(folder) if split.part_of(case) == "validation")
    return list({case.content_sha256: case for case in cases}.values())


def planes_of(cases: list[Case], count: int) -> Iterator[tuple[Case, int]]:
    """Slices of these images: the middle one of each first, then others, until there are enough."""
    depths = {case.name: _depth(case) for case in cases}
    given = 0
    for turn in range(max(depths.values())):
        for case in cases:
            depth = depths[case.name]
            if turn < depth and given < count:
                yield case, (depth // 2 + turn) % depth
                given += 1


def _depth(case: Case) -> int:
    scan = case.read_scan()
    return scan.array.shape[0] if scan.axes.startswith("z") else 1

"""The jobs of bench/peers.py: which there are, which are done, and where each keeps its result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = "ours"


@dataclass(frozen=True)
class DataSet:
    """A row of the comparison: folders of images, and the configuration of our model for them.

    The configuration says for everybody the split, the size and the augmentation.
    """

    title: str
    folders: tuple[str, ...]
    config: str
    is_volume: bool = False


DATA_SETS = {
    "busi": DataSet("breast ultrasound (busi)", ("busi",), "breast-ultrasound"),
    "ph2": DataSet("skin lesions (ph2)", ("ph2",), "skin-lesion"),
    "dsb2018": DataSet("nuclei (dsb2018)", ("dsb2018",), "nuclei"),
    "msd_hippocampus": DataSet(
        "hippocampus MR (msd_hippocampus)", ("msd_hippocampus",), "hippocampus-mr-2", is_volume=True
    ),
    "chase_db1": DataSet("retinal vessels (chase_db1)", ("chase_db1",), "retina-vessels"),
    "polyps": DataSet("polyps (cvc_clinicdb and kvasir_seg)", ("cvc_clinicdb", "kvasir_seg"), "polyp"),
    "acdc": DataSet("heart MR (acdc)", ("acdc",), "cardiac-mr", is_volume=True),
}

PEERS = {
    OURS: "ours",
    "unet": "U-Net (MONAI)",
    "efficientnet-unet": "U-Net over EfficientNet-Lite0",
    "nnunet-2d": "nnU-Net 2D",
    "nnunet-3d": "nnU-Net 3D",
    "diffusion": "diffusion of pixels (MONAI)",
}
_FOR_VOLUMES = {"nnunet-3d"}


@dataclass(frozen=True)
class Job:
    """One training and its scores."""

    data_set: str
    peer: str
    seed: int
    minutes: float

    def path(self, folder: Path) -> Path:
        """The file of its result."""
        return folder / f"{self.data_set}_{self.peer}_{self.minutes:g}min_seed{self.seed}.json"

    def is_done(self, folder: Path) -> bool:
        return self.path(folder).is_file()

    def write(self, folder: Path, result: dict[str, Any]) -> None:
        """Write the result as a whole or not at all."""
        path = self.path(folder)
        part = path.with_suffix(".part")
        job = {"set": self.data_set, "peer": self.peer, "seed": self.seed, "minutes": self.minutes}
        part.write_text(json.dumps({"job": job} | result, indent=1) + "\n", "utf-8")
        part.replace(path)


def jobs(
    data_sets: Sequence[str], peers: Sequence[str], seeds: Sequence[int], minutes: Sequence[float]
) -> Iterator[Job]:
    """All jobs, set by set, so that a set is complete as early as can be."""
    for length in minutes:
        for seed in seeds:
            for data_set in data_sets:
                for peer in peers:
                    if DATA_SETS[data_set].is_volume or peer not in _FOR_VOLUMES:
                        yield Job(data_set, peer, seed, length)

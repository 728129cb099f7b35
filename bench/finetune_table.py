"""The table of bench/finetune.py: cells as JSON files, and as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["BEGIN", "END", "PAIRS", "Cell", "markdown", "read_cells"]

PAIRS = (
    ("retina-vessels", "drive"),
    ("breast-ultrasound", "ph2"),
    ("breast-ultrasound", "kvasir_seg"),
    ("breast-ultrasound", "cvc_clinicdb"),
)
OWN = {"retina-vessels": "chase_db1", "breast-ultrasound": "busi"}
BEGIN = "<!-- bench/finetune.py: begin -->"
END = "<!-- bench/finetune.py: end -->"


@dataclass(frozen=True)
class Cell:
    """A model that is taught some images of a set for some minutes."""

    base: str
    data_set: str
    count: int
    minutes: float

    @property
    def own(self) -> str:
        """The set that the model was first trained on."""
        return OWN[self.base]

    def path(self, folder: Path) -> Path:
        """The file of its result."""
        return folder / f"cell-{self.base}-{self.data_set}-{self.count}-{self.minutes:g}min.json"

    def write(self, folder: Path, result: dict[str, Any]) -> None:
        """Write its result in one step, so that a file that is there is whole."""
        path = self.path(folder)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"cell": asdict(self)} | result, indent=1) + "\n", "utf-8")
        part.replace(path)


def read_cells(folder: Path) -> list[dict[str, Any]]:
    """The results in a folder: by model and set in the order of `PAIRS`, then by the number of images."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("cell-*.json"))]

    def order(result: dict[str, Any]) -> tuple[Any, ...]:
        cell = result["cell"]
        pair = (cell["base"], cell["data_set"])
        return (PAIRS.index(pair) if pair in PAIRS else len(PAIRS), *pair, cell["count"], cell["minutes"])

    return sorted(results, key=order)


def markdown(results: list[dict[str, Any]]) -> str:
    """One row a cell."""
    lines = [
        "| model | set | taught | steps | unseen, before | after | gain | own, before | after | change |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        cell, before, after = result["cell"], result["before"], result["after"]
        cells = [
            cell["base"],
            f"{cell['data_set']} ({before['unseen']} unseen)",
            str(cell["count"]),
            str(result["steps"]),
            *_change(before["new"], after["new"]),
            *_change(before["own"], after["own"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _change(before: float, after: float) -> tuple[str, str, str]:
    """DSC before, after, and the difference, in points of 100."""
    return f"{100 * before:.1f}", f"{100 * after:.1f}", f"{100 * (after - before):+.1f}"

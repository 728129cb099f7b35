"""The tables of docs/benchmarks/peers.md from the results of the jobs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.evaluation.bootstrap import Bootstrap, column_means
from napari_latentseg.evaluation.paired import paired_score
from peer_models.jobs import DATA_SETS, OURS, PEERS

BEGIN, END = "<!-- bench/peers.py: begin -->", "<!-- bench/peers.py: end -->"
COLUMNS = (
    "", "seeds", "steps x batch, time (min)", "trainable (M)", "Dice (95 %)", "IoU", "HD95", "missed", "ECE",
    "s an image", "ours minus it (95 %; p)",
)  # fmt: skip
Result = Mapping[str, Any]


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All results of a folder; those of one set and length have scored the same images.

    Raises
    ------
    SystemExit
        If there is none.
    """
    results = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    results = [result for result in results if "job" in result]
    if not results:
        raise SystemExit(f"{folder}: holds no result; bench/peers.py run --out {folder} makes them")
    return results


def rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row for each set, length and peer: means over seeds, and intervals over images."""
    by_row: dict[tuple[str, float, str], list[Result]] = defaultdict(list)
    for result in results:
        job = result["job"]
        by_row[job["set"], job["minutes"], job["peer"]].append(result)
    made = []
    for (data_set, minutes, peer), seeds in by_row.items():
        ours = by_row.get((data_set, minutes, OURS), [])
        made.append(
            {"set": data_set, "minutes": minutes, "peer": peer} | _row(seeds, ours, is_ours=peer == OURS)
        )
    order = {name: i for i, name in enumerate([*DATA_SETS, *PEERS])}
    return sorted(made, key=lambda row: (row["minutes"], order[row["set"]], order[row["peer"]]))


def _row(seeds: Sequence[Result], ours: Sequence[Result], *, is_ours: bool) -> dict[str, Any]:
    dsc = _dice(seeds)
    units = seeds[0]["units"]
    row: dict[str, Any] = {
        "seeds": len(seeds),
        "images": len(dsc),
        "dsc": float(dsc.mean()),
        "interval": list(Bootstrap(units).intervals(dsc[:, None], column_means)[0]),
        "iou": _mean(seeds, lambda r: r["report"]["mean"]["iou"]),
        "hd95": _mean(seeds, lambda r: r["report"]["mean"]["hd95"]),
        "ece": _mean(seeds, lambda r: r["report"]["calibration"]["reliability"]["ece"]),
        "missed": _mean(seeds, lambda r: r["missed"]),
        "segmenting_seconds": _mean(seeds, lambda r: r["segmenting_seconds"]),
    }
    row |= {key: seeds[0]["training"][key] for key in ("trainable", "steps", "batch", "note")}
    row["cpu_minutes"] = _mean(seeds, lambda r: r["training"]["cpu_seconds"]) / 60
    if ours and not is_ours:
        paired = paired_score(_dice(ours), dsc, units)
        row["difference"] = {
            "mean": paired.mean_difference, "interval": paired.interval, "p": paired.p_value
        }  # fmt: skip
    return row


def _dice(seeds: Sequence[Result]) -> Any:
    """Dice of each image, the mean over seeds, in the order of the first seed's images."""
    names = [image["name"] for image in seeds[0]["report"]["images"]]
    by_name = [{image["name"]: image["dsc"] for image in seed["report"]["images"]} for seed in seeds]
    return np.array([[scores[name] for name in names] for scores in by_name]).mean(axis=0)


def _mean(seeds: Sequence[Result], value: Any) -> float:
    return float(np.mean([value(result) for result in seeds]))


def markdown(table: Sequence[Mapping[str, Any]]) -> str:
    """The tables, one for each set and length of training, and in how many sets ours is ahead."""
    parts = []
    for minutes in dict.fromkeys(row["minutes"] for row in table):
        of_length = [row for row in table if row["minutes"] == minutes]
        for data_set in dict.fromkeys(row["set"] for row in of_length):
            of_set = [row for row in of_length if row["set"] == data_set]
            title = DATA_SETS[data_set].title
            heading = f"**{title}**, {minutes:g} minutes, {of_set[0]['images']} validation images"
            lines = [heading, "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
            parts.append("\n".join([*lines, *(_line(_cells(row)) for row in of_set)]))
        parts.append(_summary(of_length, minutes))
    return "\n\n".join(parts)


def _summary(table: Sequence[Mapping[str, Any]], minutes: float) -> str:
    """In how many sets ours has the higher Dice than each peer."""
    counts = []
    for peer, title in PEERS.items():
        differences = [
            row["difference"]["mean"] for row in table if row["peer"] == peer and "difference" in row
        ]
        if differences:
            ahead = sum(difference > 0 for difference in differences)
            counts.append(f"{title} {ahead} of {len(differences)}")
    return (
        f"Sets in which ours has the higher Dice, at {minutes:g} minutes: {'; '.join(counts) or 'none yet'}."
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    low, high = row["interval"]
    difference = ""
    if "difference" in row:
        interval, p = row["difference"]["interval"], row["difference"]["p"]
        difference = f"{100 * row['difference']['mean']:+.1f}"
        if interval is not None and p is not None:
            difference += f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}; {p:.2g})"
    return [
        f"{PEERS[row['peer']]}, {row['note']}",
        str(row["seeds"]),
        f"{row['steps']} x {row['batch']}, {row['cpu_minutes']:.1f}",
        f"{row['trainable'] / 1e6:.2f}",
        f"{row['dsc']:.3f} ({low:.3f} to {high:.3f})",
        f"{row['iou']:.3f}",
        f"{row['hd95']:.1f}",
        f"{100 * row['missed']:.0f} %",
        f"{row['ece']:.3f}",
        f"{row['segmenting_seconds']:.2f}",
        difference,
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

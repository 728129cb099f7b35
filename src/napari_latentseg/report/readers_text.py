"""The figures of a comparison of readers as rows of tables, and what they mean in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from napari_latentseg.evaluation.model_beside_readers import VARIANCE_IS_NOT_DISAGREEMENT
from napari_latentseg.evaluation.reader_comparison import ReaderComparison
from napari_latentseg.evaluation.reader_pairs import ReaderPair
from napari_latentseg.report.evaluation_text import Cell

__all__ = ["ClassTables", "class_tables", "model_texts", "pair_head", "reader_comparison_texts"]

Row = list[str | Cell]

_EMPTY_TEXTS = {
    "first": " (nothing in the first)",
    "second": " (nothing in the second)",
    "both": " (nothing in both)",
    "": "",
}


@dataclass(frozen=True)
class ClassTables:
    """The tables of one class at one time point.

    Attributes
    ----------
    title
        Name of the class, with the time point where there are several.
    matrix
        The Dice of every reader with every other; the first row and column are names.
    pairs
        A row for each pair of readers, then for each reader with the consensus, then with the model.
    performance
        With STAPLE, sensitivity and specificity of each reader.
    model
        How far the samples of a model agree with the readers: a title and a figure each.
    """

    title: str
    matrix: list[Row]
    pairs: list[Row]
    performance: list[Row]
    model: list[Row]


def pair_head(comparison: ReaderComparison) -> list[str]:
    """The head of `ClassTables.pairs`."""
    unit = "pixels" if comparison.tolerance.unit == "pixel" else comparison.tolerance.unit
    surface = f"surface Dice at {comparison.tolerance.describe()}"
    return ["", "Dice", "IoU", f"HD95 ({unit})", f"ASSD ({unit})", surface]


def class_tables(comparison: ReaderComparison) -> list[ClassTables]:
    """The tables of every class and time point."""
    pairs = _by_class("pairs", comparison.pairs)
    consensus = _by_class("consensus.pairs", comparison.against_consensus)
    model = {} if comparison.model is None else _by_class("model.pairs", comparison.model.pairs)
    tables = []
    for group, keyed in pairs.items():
        label, time = group
        name = next(info.name for info in comparison.classes if info.label == label)
        rows = [*keyed, *consensus[group], *model.get(group, [])]
        tables.append(
            ClassTables(
                name if time is None else f"{name}, time {time + 1}",
                _matrix(comparison.readers, keyed),
                [_pair_row(key, pair) for key, pair in rows],
                _performance_rows(comparison, group),
                _model_rows(comparison, group),
            )
        )
    return tables


def reader_comparison_texts(comparison: ReaderComparison) -> list[str]:
    """What the tables mean, and what was left out."""
    texts = [
        f"Consensus: {comparison.conventions['consensus']}.",
        "Readers are in the consensus that they are compared with, so these figures are optimistic.",
    ]
    if comparison.segmented:
        texts.insert(0, f"Compared in {comparison.segmented} only: the rest was not segmented.")
    return texts


def model_texts(comparison: ReaderComparison) -> list[str]:
    """What the figures of a model beside readers mean; none without a model."""
    if comparison.model is None:
        return []
    maps = comparison.model.maps
    texts = [
        VARIANCE_IS_NOT_DISAGREEMENT,
        "GED² compares samples and readers as two sets of masks: 0 where they are alike in shape and in how"
        " much they differ, up to 2. The readers among each other are the reference.",
    ]
    if not maps.samples:
        texts.append(f"Compared with the readers: {maps.basis}.")
    if maps.variance is None:
        texts.append("This result has no variance, so there is nothing to correlate with the readers.")
    return texts


def _by_class(
    place: str, pairs: Sequence[ReaderPair]
) -> dict[tuple[int, int | None], list[tuple[str, ReaderPair]]]:
    """The pairs with their places in the JSON, by label and time."""
    keyed = [(f"{place}.{i}", pair) for i, pair in enumerate(pairs)]
    grouped: Iterator[tuple[tuple[int, int | None], Iterator[tuple[str, ReaderPair]]]] = groupby(
        keyed, key=lambda item: (item[1].label, item[1].time)
    )
    return {group: list(items) for group, items in grouped}


def _matrix(readers: Sequence[str], keyed: Sequence[tuple[str, ReaderPair]]) -> list[Row]:
    cells = {}
    for key, pair in keyed:
        cell = Cell(f"{key}.dsc", f"{pair.dsc:.3f}")
        cells[pair.first, pair.second] = cells[pair.second, pair.first] = cell
    head: Row = ["Dice", *readers]
    return [head, *([name, *(cells.get((name, other), "") for other in readers)] for name in readers)]


def _pair_row(key: str, pair: ReaderPair) -> Row:
    return [
        f"{pair.first}, {pair.second}{_EMPTY_TEXTS[pair.empty]}",
        Cell(f"{key}.dsc", f"{pair.dsc:.3f}"),
        Cell(f"{key}.iou", f"{pair.iou:.3f}"),
        Cell(f"{key}.hd95", f"{pair.hd95:.2f}"),
        Cell(f"{key}.assd", f"{pair.assd:.2f}"),
        Cell(f"{key}.surface_dice", f"{pair.surface_dice:.3f}"),
    ]


def _performance_rows(comparison: ReaderComparison, group: tuple[int, int | None]) -> list[Row]:
    rows: list[Row] = []
    for i, row in enumerate(comparison.consensus.performance):
        if (row.label, row.time) == group:
            key = f"consensus.performance.{i}"
            rows.append(
                [
                    row.reader,
                    *(
                        "-" if value is None else Cell(f"{key}.{name}", f"{value:.4f}")
                        for name, value in (
                            ("sensitivity", row.sensitivity), ("specificity", row.specificity),
                        )
                    ),
                ]
            )  # fmt: skip
    return rows


def _model_rows(comparison: ReaderComparison, group: tuple[int, int | None]) -> list[Row]:
    if comparison.model is None:
        return []
    maps = comparison.model.maps
    i, row = next(
        (i, row) for i, row in enumerate(comparison.model.agreements) if (row.label, row.time) == group
    )
    key, agreement = f"model.agreements.{i}", row.agreement
    rows: list[Row] = [
        ["GED² of samples and readers", Cell(f"{key}.agreement.ged2", f"{agreement.ged2:.4f}")],
        [
            "IoU, samples and readers matched one to one",
            Cell(f"{key}.agreement.matched_iou", f"{agreement.matched_iou:.4f}"),
        ],
        ["IoU of a sample and a reader", f"{1 - agreement.sample_reader_distance:.4f}"],
    ]
    for title, distance, count in (
        ("IoU of two samples", agreement.sample_distance, len(maps.samples)),
        ("IoU of two readers (the reference)", agreement.reader_distance, len(comparison.readers)),
    ):
        if count > 1:  # the mean distance counts the pairs of a mask with itself, whose distance is 0
            rows.append([title, f"{1 - distance * count / (count - 1):.4f}"])
    for title, field, value in (
        ("where anything is marked", "correlation", row.correlation),
        ("everywhere", "correlation_everywhere", row.correlation_everywhere),
    ):
        if value is not None:
            correlation = f"Correlation of variance and disagreement, {title}"
            rows.append([correlation, Cell(f"{key}.{field}", f"{value:.3f}")])
    return rows

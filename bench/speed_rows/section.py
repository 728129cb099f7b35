"""A section of the report: a table of rows, as text for docs/benchmarks/speed.md and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

BEGIN, END = "<!-- bench/speed.py: begin -->", "<!-- bench/speed.py: end -->"


@dataclass(frozen=True)
class Row:
    """What was measured, beside what; the value of each round, and the limit that was asked for.

    The values are ratios, or have a `unit`. `aim` is ">= 1.9" or "<= 0.8", of their median; empty for none.
    `note` says why nothing was measured, or what else is to be known.
    """

    what: str
    ours: str = ""
    beside: str = ""
    values: tuple[float, ...] = ()
    aim: str = ""
    note: str = ""
    unit: str = ""

    @property
    def is_reached(self) -> bool | None:
        """Whether the aim is reached; None where there is none, or nothing was measured."""
        if not self.aim or not self.values:
            return None
        relation, limit = self.aim.split()
        value = median(self.values)
        return value >= float(limit) if relation == ">=" else value <= float(limit)

    def cells(self) -> list[str]:
        """The cells of its line in the table."""
        if self.values:
            digits = ".4g" if self.unit else ".2f"
            middle, least, most = (
                f"{of_rounds(self.values):{digits}}{self.unit}" for of_rounds in (median, min, max)
            )
            value = f"{middle} ({least} to {most})" if len(self.values) > 1 else middle
        else:
            value = "not measured" if not self.ours else ""
        verdict = {True: ", reached", False: ", **not reached**", None: ""}[self.is_reached]
        aim = f"{self.aim}{self.unit}" if self.aim else ""
        return [self.what, self.ours, self.beside, value, aim + verdict, self.note]


@dataclass(frozen=True)
class Section:
    """The rows of one `--only`."""

    name: str
    title: str
    text: str
    rows: tuple[Row, ...]
    machine: str = ""
    points: tuple[dict[str, Any], ...] = field(default=())

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Section:
        rows = tuple(Row(**(row | {"values": tuple(row["values"])})) for row in values["rows"])
        return cls(**(values | {"rows": rows, "points": tuple(values["points"])}))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def markdown(self) -> str:
        """Title, text, table, and under which load it was measured."""
        lines = [f"### {self.title}", "", f"    python bench/speed.py --only {self.name}", "", self.text, ""]
        if self.rows:
            lines += table(
                ["what", "ours", "beside", "median (least to most)", "asked for", ""],
                [row.cells() for row in self.rows],
            )
            lines.append("")
        return "\n".join([*lines, self.machine, ""]) if self.machine else "\n".join(lines)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown, without the columns that are empty in all rows."""
    shown = [i for i in range(len(header)) if any(row[i] for row in rows)]
    lines = [[header[i] for i in shown], ["---"] * len(shown), *([row[i] for i in shown] for row in rows)]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def replace_between_markers(document: str, text: str) -> str:
    """The document with another text between the markers; at its end where it has none."""
    if BEGIN not in document:
        return f"{document.rstrip()}\n\n{BEGIN}\n{text.strip()}\n{END}\n"
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n{text.strip()}\n{END}{rest.split(END, 1)[1]}"

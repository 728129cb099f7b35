"""The table that grows over cases."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.made import classes_of, made

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.measure import CASE_COLUMNS, append_to_table, check_case_table, measure
from napari_latentseg.measure.spreadsheet_text import escape_formulas

BOTH_AT_ONCE = """
import sys
from pathlib import Path
from tests.measure.test_case_table import add, of
for number in range(20):
    add(Path(sys.argv[1]), of("1"), f"{sys.argv[2]}-{number}")
"""


def of(sha256: str, *names: str, time: str = "2026-01-01T00:00:00+00:00") -> Segmentation:
    samples = np.zeros((4, max(1, len(names)), 2, 8, 8))
    samples[..., 1:5, 1:5] = 0.9
    result = made(
        samples,
        Geometry.from_spacing("zyx", (2.0, 0.5, 0.5), "mm"),
        classes=classes_of(*(names or ("cyst",))),
    )
    record = result.record
    changed = record.replace(input=record.input.model_copy(update={"sha256": sha256 * 64}), time=time)
    return replace(result, record=changed)


def add(
    path: Path, result: Segmentation, case: str, *, objects: bool = False, overwrite: bool = False
) -> None:
    append_to_table(path, result.record, measure(result), case, objects=objects, overwrite=overwrite)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_each_class_of_each_case_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cases.csv"
    add(path, of("a", "left part", "right part"), "case-1")
    add(path, of("b"), "case-2")
    rows = rows_of(path)
    assert tuple(rows[0]) == CASE_COLUMNS
    assert [(row["case"], row["class"]) for row in rows] == [
        ("case-1", "left part"), ("case-1", "right part"), ("case-2", "cyst"),
    ]  # fmt: skip
    last = rows[-1]
    assert (last["image"], last["mask"], last["unit"]) == (f"sha256:{'b' * 16}", "model", "mm3")
    assert float(last["size"]) == measure(of("b"))[0].value
    assert float(last["ml"]) == float(last["size"]) / 1000
    assert [p.name for p in path.parent.iterdir()] == ["cases.csv"]


def with_two_objects(result: Segmentation) -> Segmentation:
    mask = np.zeros_like(result.mask)
    mask[:, 1:5, 1:5] = 1
    mask[:, 6:8, 6:8] = 1
    return replace(result, mask=mask)


def test_objects_have_rows_on_request_which_sum_up_to_the_class(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    add(path, with_two_objects(of("a")), "case-1", objects=True)
    add(path, with_two_objects(of("b")), "case-2")
    rows = rows_of(path)
    assert [(row["case"], row["object"]) for row in rows] == [
        ("case-1", ""), ("case-1", "1"), ("case-1", "2"), ("case-2", ""),
    ]  # fmt: skip
    # two slices of 4 x 4 and 2 x 2 voxels of 2 x 0.5 x 0.5 mm
    assert [float(row["size"]) for row in rows] == [20, 16, 4, 20]
    add(path, with_two_objects(of("a")), "case-1")
    assert [(row["case"], row["object"]) for row in rows_of(path)] == [("case-2", ""), ("case-1", "")]


def test_a_table_without_the_column_of_objects_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    add(path, of("a"), "case-1")
    new = rows_of(path)
    earlier = [{name: row[name] for name in row if name != "object"} for row in new]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(earlier[0]))
        writer.writeheader()
        writer.writerows(earlier)
    with pytest.raises(BadInput, match="has the case 'case-1' with another image"):
        check_case_table(path, "case-1", "b" * 64)
    add(path, with_two_objects(of("b")), "case-2", objects=True)
    rows = rows_of(path)
    assert rows[:1] == new
    assert [row["object"] for row in rows] == ["", "", "1", "2"]


def test_the_same_run_is_replaced_and_another_is_added(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    result = of("a")
    add(path, result, "case-1")
    add(path, of("b"), "case-2")
    corrected = replace(
        result, mask=np.zeros_like(result.mask), record=result.record.replace(mask_state="corrected")
    )
    add(path, corrected, "case-1")
    rows = rows_of(path)
    assert [(row["case"], row["mask"], float(row["size"]) > 0) for row in rows] == [
        ("case-2", "model", True), ("case-1", "corrected", False),
    ]  # fmt: skip
    add(path, of("a", time="2026-01-02T00:00:00+00:00"), "case-1")
    assert [row["case"] for row in rows_of(path)] == ["case-2", "case-1", "case-1"]


def test_two_models_in_the_same_second_are_two_runs(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    first = of("a")
    for name, version in (("one", "1"), ("one", "2"), ("=two", "1"), ("=two", "1")):
        model = first.record.model.model_copy(update={"name": name, "version": version})
        add(path, replace(first, record=first.record.replace(model=model)), "case-1")
    assert [(row["model"], row["version"]) for row in rows_of(path)] == [
        ("one", "1"), ("one", "2"), ("'=two", "1"),
    ]  # fmt: skip


def test_a_case_has_one_image(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    add(path, of("a"), "case-1")
    before = path.read_bytes()
    with pytest.raises(BadInput, match="has the case 'case-1' with another image"):
        add(path, of("b"), "case-1")
    with pytest.raises(BadInput, match="with another image"):
        check_case_table(path, "case-1", "b" * 64)
    check_case_table(path, "case-1", "a" * 64)
    assert path.read_bytes() == before
    add(path, of("b"), "case-1", overwrite=True)
    assert [row["image"] for row in rows_of(path)] == [f"sha256:{'b' * 16}"]


@pytest.mark.parametrize(
    "content",
    [b"a,b\r\n1,2\r\n", b"", b"\xff\xfe\x00", ",".join(CASE_COLUMNS).encode() + b"\r\n1,2\r\n",
     ";".join(CASE_COLUMNS).encode() + b"\r\n"],
)  # fmt: skip
def test_another_table_is_not_written_to(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="table of cases"):
        add(path, of("a"), "case-1")
    assert path.read_bytes() == content


def test_what_is_no_name_of_a_table(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"use the extension \.csv"):
        check_case_table(tmp_path / "cases.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadInput, match="cannot be read"):
        check_case_table(tmp_path / "folder.csv")


@pytest.mark.parametrize("case", ["＝1", "=1+1", "a;=1", "-2", "a,＋1"])
def test_a_code_is_no_formula_and_is_found_again(tmp_path: Path, case: str) -> None:
    path = tmp_path / "cases.csv"
    for _ in range(2):
        add(path, of("a", "=cmd", "x;＝1"), case)
    rows = rows_of(path)
    assert [row["class"] for row in rows] == ["'=cmd", "x;'＝1"]
    assert {row["case"] for row in rows} == {escape_formulas(case)}
    assert "'" in rows[0]["case"]


def test_a_failure_leaves_the_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cases.csv"
    add(path, of("a"), "case-1")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BadInput, match="No space left"):
        add(path, of("b"), "case-2")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["cases.csv"]


def test_two_programs_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    programs = [subprocess.Popen([sys.executable, "-c", BOTH_AT_ONCE, str(path), name]) for name in "ab"]
    assert [program.wait(120) for program in programs] == [0, 0]
    assert len({row["case"] for row in rows_of(path)}) == 40


def test_a_part_of_the_image_is_told_apart_from_all_of_it(tmp_path: Path) -> None:
    path, result = tmp_path / "cases.csv", of("a" * 64, "lesion")
    add(path, result, "whole")
    add(path, replace(result, record=result.record.replace(box=(0, 0, 4, 4), time="2026-01-02")), "part")
    assert [row["segmented"] for row in rows_of(path)] == ["all", "a box"]

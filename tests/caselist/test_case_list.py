"""Readers hold cases and decide on them."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_latentseg import CaseList, Geometry, Scan, compare_readings
from napari_latentseg.caselist.case_list import HeldByAnother
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan

LARGE, HALF = (
    Scan(np.full((2, 2), value), "yx", Geometry.from_spacing("yx", (1, 1), "mm")) for value in (300, 0.5)
)
NAMES = ("case_0", "case_1", "case_2")


def mask_of(width: int, unit: str = "pixel") -> Scan:
    labels = np.zeros((20, 24), np.uint8)
    labels[5:15, 5 : 5 + width] = 1
    return Scan(labels, "yx", Geometry.from_spacing("yx", (0.5, 0.5) if unit == "mm" else (1, 1), unit))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in NAMES:
        Image.fromarray(np.zeros((20, 24), np.uint8)).save(folder / f"{name}.png")
    return folder


def journal(scans: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (scans / ".cases" / "journal.jsonl").read_text("utf-8").splitlines()]


def test_a_case_from_opened_to_approved(scans: Path) -> None:
    with CaseList(scans) as cases:
        assert cases.hold("case_1", "Anna").state == "in review"
        case = cases.decide(
            "case_1", "Anna", "approve", mask=mask_of(5), seconds=61.4, rating=3, comment="rim"
        )
        assert (case.state, case.reader, case.seconds, case.rating, case.comment) == (
            "approved", "Anna", 61.4, 3, "rim",
        )  # fmt: skip
        cases.release("case_1", "Anna")
    with CaseList(scans) as again:  # another program
        assert again.case("case_1") == case
        assert [row.name for row in again.rows()] == ["case_0", "case_2", "case_1"]
        path = again.reading_paths("case_1")["Anna"]
    assert np.array_equal(read_scan(path).array, mask_of(5).array)


def test_notes_leave_the_state_and_can_be_taken_back(scans: Path) -> None:
    cases = CaseList(scans)
    assert cases.decide("case_0", "Anna", "reject").state == "rejected"
    assert cases.decide("case_0", "Ben", "note", rating=1, comment="motion").state == "rejected"
    assert cases.case("case_0").reader == "Anna"
    case = cases.decide("case_0", "Anna", "reopen", rating=0)
    assert (case.state, case.rating, case.comment) == ("in review", None, "motion")


@pytest.mark.parametrize("decision", ["hold", "approve", "reject", "note"])
def test_two_readers_cannot_have_one_case(scans: Path, decision: str) -> None:
    anna, ben = CaseList(scans), CaseList(scans)
    anna.hold("case_0", "Anna")
    with pytest.raises(HeldByAnother, match="case_0: is being read by Anna; choose another case"):
        ben.hold("case_0", "Ben") if decision == "hold" else ben.decide("case_0", "Ben", decision)
    assert ben.hold_next(NAMES, "Ben").name == "case_1"
    anna.release("case_0", "Anna", 12.0)
    assert ben.hold("case_0", "Ben").readers == ("Anna", "Ben")
    assert ben.case("case_0").seconds == 12.0


def test_the_next_case_is_one_that_nobody_has_decided_on(scans: Path) -> None:
    anna, ben = CaseList(scans), CaseList(scans)
    anna.decide("case_0", "Anna", "approve", mask=mask_of(4))
    anna.hold("case_1", "Anna")
    assert ben.hold_next(NAMES, "Ben").name == "case_2"
    ben.decide("case_2", "Ben", "reject")
    assert ben.hold_next(NAMES, "Ben") is None


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("unit", ["pixel", "mm"])
def test_a_second_reading(scans: Path, blind: bool, unit: str) -> None:
    cases = CaseList(scans)
    with pytest.raises(BadInput, match="has no first reading; approve its mask first"):
        cases.decide("case_0", "Anna", "second reading")
    cases.decide("case_0", "Anna", "approve", mask=mask_of(10, unit))
    case = cases.decide("case_0", "Anna", "second reading", blind=blind)
    assert (case.state, case.is_blind, case.first_reader) == ("second reading", blind, "Anna")
    for same in ("Anna", "anna"):
        with pytest.raises(BadInput, match="waits for a second reader, and you were the first"):
            cases.hold("case_0", same)
    assert cases.hold_next(["case_0"], "Anna") is None
    with pytest.raises(BadInput, match="waits for a second reader"):
        cases.decide("case_0", "Anna", "approve", mask=mask_of(10, unit))
    assert cases.hold_next(["case_0"], "Ben").state == "second reading"
    case = cases.decide("case_0", "Ben", "approve", mask=mask_of(9, unit))
    assert (case.state, case.is_blind, case.readers) == ("approved", False, ("Anna", "Ben"))
    cases.close()
    (pair,) = compare_readings(scans, "case_0").pairs
    assert (pair.first, pair.second) == ("Anna", "Ben")
    assert pair.dsc == pytest.approx(2 * 90 / 190)


def test_the_last_mask_of_a_reader_counts(scans: Path) -> None:
    cases = CaseList(scans)
    for width in (3, 7):
        cases.decide("case_0", "Anna", "approve", mask=mask_of(width))
    assert np.count_nonzero(read_scan(cases.reading_paths("case_0")["Anna"]).array) == 70
    with pytest.raises(BadInput, match="has 1 of the 2 readings"):
        compare_readings(scans, "case_0")


def test_a_mask_that_was_changed_or_removed_is_refused(scans: Path) -> None:
    cases = CaseList(scans)
    cases.decide("case_0", "Anna", "approve", mask=mask_of(3))
    path = cases.reading_paths("case_0")["Anna"]
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BadInput, match="the mask of Anna: was changed since it was approved"):
        cases.reading_paths("case_0")
    path.unlink()
    with pytest.raises(BadInput, match="the mask of Anna: is gone"):
        cases.reading_paths("case_0")


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        (("case_0", " ", "note"), {}, "reader: is missing; enter your name"),
        (("case_0", "x" * 61, "note"), {}, "longer than 60"),
        (("case_0", "An\x00na", "note"), {}, "cannot be seen"),
        (("case_9", "Anna", "note"), {}, "there is none named"),
        (("case_0", "Anna", "note"), {"rating": 5}, "rating: is 5; give 1 to 4"),
        (("case_0", "Anna", "note"), {"comment": "x" * 2001}, "2001 characters"),
        (("case_0", "Anna", "approve"), {"mask": LARGE}, "labels above 255"),
        (("case_0", "Anna", "approve"), {"mask": HALF}, "holds no labels"),
        (("case_0", "Anna", "aprove"), {}, "'aprove' is not known; did you mean 'approve'"),
        (("case_0", "model", "note"), {}, "'model' means something else here"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_changes_nothing(
    scans: Path, arguments: tuple[str, str, str], options: dict[str, object], why: str
) -> None:
    cases = CaseList(scans)
    before = cases.rows()
    with pytest.raises(BadInput, match=why):
        cases.decide(*arguments, **options)
    assert cases.rows() == before
    assert not (scans / ".cases" / "journal.jsonl").exists()
    assert CaseList(scans).hold("case_0", "Ben").reader == "Ben"  # nothing is held


def test_a_second_mask_must_lie_on_the_first(scans: Path) -> None:
    cases = CaseList(scans)
    one = np.zeros((1, 6, 8), np.uint8)
    one[0, 2, 2:5] = 1
    here, elsewhere = (Geometry.from_spacing("zyx", (2, 0.5, x), "mm") for x in (0.5, 0.7))
    cases.decide("case_0", "Anna", "approve", mask=Scan(one, "zyx", here))
    before = cases.rows()
    for mask, why in (
        (Scan(one, "zyx", elsewhere), "0.7 mm along x, the mask of Anna 0.5 mm"),
        (Scan(one[:, :-1], "zyx", here), "has shape"),
    ):
        with pytest.raises(BadInput, match=why):
            cases.decide("case_0", "Ben", "approve", mask=mask)
    assert cases.rows() == before
    case = cases.decide("case_0", "Ben", "approve", mask=Scan(one, "zyx", here))  # one slice, as the first
    assert [reading.reader for reading in case.readings] == ["Anna", "Ben"]
    # their own mask may change its place, as after the image was replaced by a better one
    assert cases.decide("case_1", "Anna", "approve", mask=Scan(one, "zyx", here)).readings
    assert cases.decide("case_1", "Anna", "approve", mask=Scan(one, "zyx", elsewhere)).readings


def test_lines_count_in_their_order_whatever_the_clock_says(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = CaseList(scans)
    times = iter(["2030-01-01T00:00:00+00:00", "1999-01-01T00:00:00+00:00"])
    monkeypatch.setattr("napari_latentseg.caselist.case_list.utc_now", lambda: next(times))
    cases.decide("case_0", "Anna", "approve", mask=mask_of(3), seconds=-30.0)
    cases.decide("case_0", "Ben", "reject", seconds=float("nan"))
    case = CaseList(scans).case("case_0")
    assert (case.state, case.readers, case.seconds) == ("rejected", ("Anna", "Ben"), 0.0)


def test_an_image_that_is_gone_or_has_changed(scans: Path) -> None:
    cases = CaseList(scans)
    for name in ("case_0", "case_1"):
        cases.decide(name, "Anna", "approve", mask=mask_of(3))
    (scans / "case_0.png").unlink()
    Image.fromarray(np.ones((40, 24), np.uint8)).save(scans / "case_1.png")
    assert "its image is gone" in cases.case("case_0").problem
    assert "its image has changed since it was read" in cases.case("case_1").problem
    with pytest.raises(BadInput, match="case_0: its image is gone; put it back"):
        cases.hold("case_0", "Ben")
    assert cases.hold("case_1", "Ben").problem == ""  # it was looked at again


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_listed_and_refuses_decisions(scans: Path) -> None:
    scans.chmod(0o555)
    try:
        cases = CaseList(scans)
        assert len(cases.rows()) == 3
        with pytest.raises(BadInput, match="decisions cannot be written there") as refusal:
            cases.hold("case_0", "Anna")
        assert "\n" not in str(refusal.value)
    finally:
        scans.chmod(0o755)


def test_a_disk_that_refuses_to_write(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = CaseList(scans)
    cases.decide("case_0", "Anna", "approve", mask=mask_of(3))
    before = journal(scans)

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_latentseg.annotations.journal.os.fsync", refuse)
    with pytest.raises(BadInput, match=r"decisions cannot be written there \(No space left on device\)"):
        cases.decide("case_0", "Ben", "reject")
    monkeypatch.undo()
    assert journal(scans) == before
    assert cases.case("case_0").state == "approved"


def test_the_journal_names_no_case_and_nothing_is_logged(
    scans: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        CaseList(scans).decide("case_0", "Anna", "approve", mask=mask_of(3))
    text = (scans / ".cases" / "journal.jsonl").read_text("utf-8")
    names = "".join(str(path.relative_to(scans)) for path in (scans / ".cases").rglob("*"))
    for said in (text, names, caplog.text):
        assert "case_0" not in said
        assert str(scans) not in said or said == caplog.text  # filelock names its lock at level DEBUG


def test_a_journal_of_a_newer_version_and_a_damaged_line(scans: Path) -> None:
    cases = CaseList(scans)
    cases.decide("case_0", "Anna", "reject")
    cases.decide("case_1", "Anna", "reject")
    path = scans / ".cases" / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0].replace(b"Anna", b"Anne") + lines[1])
    damaged = CaseList(scans)
    assert damaged.damaged_lines == [1]
    assert [row.name for row in damaged.rows() if row.state == "rejected"] == ["case_1"]


def test_a_long_list_with_a_long_journal_is_usable(tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"case_{number:05}.png").touch()
    cases = CaseList(tmp_path)
    started_at = time.perf_counter()
    assert len(cases.rows()) == 10_000
    cases.decide("case_00001", "Anna", "reject")
    assert cases.rows()[-1].name == "case_00001"
    assert time.perf_counter() - started_at < 10  # by far: what would grow with the square takes minutes

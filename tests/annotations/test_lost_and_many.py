"""Journals that lost lines, stores whose journal is missing, and stores of very many images."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.annotated import CLASSES, contents, make_mask, make_scan

from napari_latentseg.annotations import AnnotationStore, list_stores
from napari_latentseg.annotations.journal import Journal, with_checksum, without_checksum
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput


@pytest.fixture
def approved_by_slice(store: AnnotationStore) -> AnnotationStore:
    """Of one volume each slice was approved by itself: the lines are classes, case and six approvals."""
    scan = make_scan("volume")
    for number in range(6):
        store.approve(scan, make_mask(scan), classes=CLASSES, planes=[number])
    return store


def journal_lines(store: AnnotationStore) -> list[bytes]:
    return (store.folder / "journal.jsonl").read_bytes().splitlines(keepends=True)


def write_journal(store: AnnotationStore, lines: list[bytes]) -> None:
    (store.folder / "journal.jsonl").write_bytes(b"".join(lines))


def zeroed(line: bytes) -> bytes:
    return b"\0" * len(line)


@pytest.mark.parametrize(
    ("change", "lost_numbers"),
    [
        (lambda lines: lines[:3] + lines[4:], [4]),
        (lambda lines: [*lines[:3], zeroed(lines[3]), *lines[4:]], [4]),  # the line break, too
        (lambda lines: [*lines[:3], b"{}\n", b"\n", *lines[4:]], [4]),
        (lambda lines: lines[:3] + lines[5:], [4, 5]),
        (lambda lines: [*lines[:7], b"{" * 50_000 + b"\n"], [8]),
        (lambda lines: [*lines, lines[-1]], []),  # twice, and equal
        (lambda lines: lines + lines, []),
        (lambda lines: [*lines[:4], b"no record\n", *lines[4:]], []),
    ],
    ids=["removed", "zeroed", "cut in two", "two removed", "last", "twice", "all twice", "a line too many"],
)
def test_a_lost_line_costs_no_other(
    approved_by_slice: AnnotationStore,
    change: Callable[[list[bytes]], list[bytes]],
    lost_numbers: list[int],
) -> None:
    write_journal(approved_by_slice, change(journal_lines(approved_by_slice)))
    again = AnnotationStore(approved_by_slice.folder)
    scan = make_scan("volume")
    expected = tuple(n for n in range(6) if n + 3 not in lost_numbers)
    assert again.approved_planes(scan) == expected
    assert [a.id for a in again.approvals()] == [n + 3 for n in expected]
    serious = [f.description for f in again.verify() if f.file == "journal.jsonl"]
    assert [int(text.split()[1]) for text in serious] == lost_numbers
    # what is approved or taken back after that is counted on from there
    approval = again.approve(scan, make_mask(scan), classes=CLASSES, planes=[1])
    assert approval.id > max([8, *lost_numbers])
    again.revoke(approval)
    assert AnnotationStore(again.folder).approved_planes(scan) == expected


def test_a_line_with_a_number_of_another_content_is_named(approved_by_slice: AnnotationStore) -> None:
    lines = journal_lines(approved_by_slice)
    body = without_checksum(lines[-1].rstrip(b"\n"))
    assert body is not None
    write_journal(approved_by_slice, [*lines, with_checksum({**body, "edited": True}).encode() + b"\n"])
    journal = Journal(approved_by_slice.folder / "journal.jsonl")
    journal.refresh()
    assert journal.damaged_lines == [8]
    assert journal.lines[-1].record.edited is False


def test_a_number_that_no_store_reaches_is_not_believed(approved_by_slice: AnnotationStore) -> None:
    lines = journal_lines(approved_by_slice)
    body = without_checksum(lines[-1].rstrip(b"\n"))
    assert body is not None
    write_journal(approved_by_slice, [*lines, with_checksum({**body, "line": 10**12}).encode() + b"\n"])
    journal = Journal(approved_by_slice.folder / "journal.jsonl")
    journal.refresh()
    assert journal.damaged_lines == [9]


def test_a_missing_journal_is_named_and_no_new_one_is_begun(
    filled: AnnotationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = filled.folder / "journal.jsonl"
    backup = journal.read_bytes()
    journal.unlink()
    before = contents(filled.folder)
    again = AnnotationStore(filled.folder)
    assert any("journal.jsonl is missing" in note for note in again.notes)
    assert [f.file for f in again.verify() if f.is_serious] == ["journal.jsonl"]
    scan = make_scan("volume")
    with pytest.raises(BadInput, match=r"journal.jsonl: is missing, .* put it back from a backup"):
        again.approve(scan, make_mask(scan), classes=CLASSES)
    assert contents(filled.folder) == before
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(filled.folder.parent.parent))
    root = filled.folder.parent.parent / "annotations"
    if filled.folder.parent != root:
        root.mkdir()
        filled.folder.rename(root / "tiny")
    assert list(list_stores()) == ["tiny"]
    (root / "tiny" / "journal.jsonl").write_bytes(backup)
    assert len(AnnotationStore(root / "tiny").approved_planes(scan)) == 6


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe", b"[" * 100_000, b"[]", b'{"latentseg": {"labels": {"a": 1}}}', b'{"latentseg": 3}', b""],
)
def test_a_damaged_derived_file_never_locks_a_store(filled: AnnotationStore, damage: bytes) -> None:
    before = contents(filled.folder)
    (filled.folder / "dataset.json").write_bytes(damage)
    assert filled.verify()
    again = AnnotationStore(filled.folder)
    assert contents(filled.folder) == before
    assert again.verify() == []


def test_dataset_json_of_earlier_versions_is_kept_as_it_is(filled: AnnotationStore) -> None:
    path = filled.folder / "dataset.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()), indent=2) + "\n"
    )  # each state on lines of its own
    before = path.read_bytes()
    assert AnnotationStore(filled.folder).notes == ()
    assert path.read_bytes() == before


def test_a_label_file_of_another_process_does_not_go_missing(filled: AnnotationStore) -> None:
    """A second process writes between two approvals of the first, which has read an older `dataset.json`."""
    first, second = AnnotationStore(filled.folder), AnnotationStore(filled.folder)
    for number, each in enumerate((first, second, first, second)):
        scan = make_scan("volume", seed=10 + number)
        each.approve(scan, make_mask(scan), classes=CLASSES, planes=[number])
    assert filled.verify() == []
    assert AnnotationStore(filled.folder).notes == ()
    assert json.loads((filled.folder / "dataset.json").read_text())["numTraining"] == 5


def test_only_the_line_that_was_removed_is_said_to_be_removed(filled: AnnotationStore) -> None:
    path = filled.folder / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert AnnotationStore(filled.folder).notes == ()
    path.write_bytes(path.read_bytes()[:-2])
    assert "was cut short, and was removed" in AnnotationStore(filled.folder).notes[0]


@pytest.mark.skipif(sys.platform == "win32", reason="the rights of a folder are those of its parent there")
def test_only_the_user_can_read_a_store_and_its_export(store: AnnotationStore, tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        scan = make_scan("volume")
        store.approve(scan, make_mask(scan), classes=CLASSES)
        store.export_nnunet(tmp_path / "Dataset001")
    finally:
        os.umask(umask)
    for folder in (store.folder, tmp_path / "Dataset001"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_approving_looks_at_the_image_in_question_alone(
    store: AnnotationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 10,000 images, a comparison of places with each took seconds (bench/store.py has the times)."""
    for seed in range(6):
        scan = make_scan("grey", seed)
        store.approve(scan, make_mask(scan), classes=CLASSES)
    compared = []
    agrees_with = Geometry.agrees_with

    def count(self: Geometry, other: Geometry, *rest: object, **named: object) -> bool:
        compared.append(other)
        return agrees_with(self, other, *rest, **named)

    scan = make_scan("grey", 3)
    monkeypatch.setattr(Geometry, "agrees_with", count)
    mask = make_mask(scan, 1)
    written = {path.name: path.stat().st_mtime_ns for path in (store.folder / "labelsTr").iterdir()}
    store.approve(scan, mask, classes=CLASSES)
    assert len(compared) <= 4  # of its own image while it is staged and committed, and of two written files
    changed = [
        path.name
        for path in (store.folder / "labelsTr").iterdir()
        if path.stat().st_mtime_ns != written[path.name]
    ]
    assert len(changed) == 1
    monkeypatch.undo()
    case = store.annotated_case(scan)
    assert case is not None
    assert np.array_equal(case.read_mask()[0], mask)
    assert store.verify() == []

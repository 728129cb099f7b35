"""Who approved what: an optional field of every line of the journal."""

from __future__ import annotations

import json

import numpy as np
from tests.helpers.annotated import CLASSES, make_mask, make_scan

from napari_latentseg.annotations import AnnotationStore


def lines_of(store: AnnotationStore) -> list[dict[str, object]]:
    text = (store.folder / "journal.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_has_its_reader(store: AnnotationStore) -> None:
    store.reader = " Anna "
    scan = make_scan("volume")
    entry = store.approve(scan, make_mask(scan), classes=CLASSES)
    store.reader = "Ben"
    store.revoke(entry)
    readers = [line.get("reader") for line in lines_of(store)]
    assert readers == ["Anna"] * (len(readers) - 1) + ["Ben"]
    again = AnnotationStore(store.folder)
    assert [approval.reader for approval in again.approvals(revoked=True)] == ["Anna"]
    assert entry.reader == "Anna"


def test_without_a_reader_lines_are_as_earlier_versions_wrote_them(store: AnnotationStore) -> None:
    scan = make_scan("volume")
    store.approve(scan, make_mask(scan), classes=CLASSES)
    assert not any("reader" in line for line in lines_of(store))
    assert store.approvals()[0].reader == ""


def test_a_journal_may_begin_without_readers_and_go_on_with_them(store: AnnotationStore) -> None:
    scan = make_scan("volume")
    store.approve(scan, make_mask(scan), classes=CLASSES, planes=[0])
    later = AnnotationStore(store.folder, "Ben")
    later.approve(scan, make_mask(scan), classes=CLASSES, planes=[1])
    assert [approval.reader for approval in store.approvals()] == ["", "Ben"]


def test_a_blind_reader_is_given_nothing_of_the_others(store: AnnotationStore) -> None:
    scan = make_scan("volume")
    first, second = make_mask(scan), make_mask(scan)[::-1].copy()
    store.reader = "Anna"
    store.approve(scan, first, classes=CLASSES)
    assert store.annotated_case(scan, "Ben") is None
    store.reader = "Ben"
    store.approve(scan, second, classes=CLASSES, planes=[2])
    case = store.annotated_case(scan, "Ben")
    assert case.annotated_slices == (2,)
    planes = case.read_mask().reshape(-1, *second.shape[-2:])
    assert np.array_equal(planes[2], second.reshape(planes.shape)[2])
    assert not planes[[0, 1]].any()
    assert len(store.annotated_case(scan).annotated_slices) == len(planes)

"""Stores for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.helpers.annotated import CLASSES, make_mask, make_scan

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.scan import Scan


@pytest.fixture
def store(tmp_path: Path) -> AnnotationStore:
    return AnnotationStore(tmp_path / "annotations")


@pytest.fixture
def scan() -> Scan:
    return make_scan("volume")


@pytest.fixture
def filled(store: AnnotationStore, scan: Scan) -> AnnotationStore:
    """With all of one volume approved."""
    store.approve(scan, make_mask(scan), classes=CLASSES)
    return store


@pytest.fixture
def healthy() -> Callable[[Path], AnnotationStore]:
    """Opens a store anew, and holds all of it against its hashes."""

    def check(folder: Path) -> AnnotationStore:
        found = AnnotationStore(folder)
        assert not [f for f in found.verify() if f.is_serious], found.verify()
        return found

    return check

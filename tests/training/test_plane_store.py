"""Slices of a training on the disk."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.training import plane_store
from napari_latentseg.training.plane_store import PlaneStore

FACTS = {"content": "abc", "numbers": [[0], [0, 3]]}


@pytest.fixture
def store(tmp_path: Path) -> PlaneStore:
    return PlaneStore(tmp_path / "planes")


def planes(seed: int = 0, count: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 5, 7)).astype(np.uint8)


def names(store: PlaneStore) -> list[str]:
    return sorted(path.stem for path in store.folder.glob("*.planes"))


def test_what_is_written_is_found_again_by_another_store_slice_by_slice(store: PlaneStore) -> None:
    values = planes()
    written = store.write("a1", values, FACTS)
    for file in (written, PlaneStore(store.folder).find("a1")):
        assert file is not None
        assert file.facts == FACTS
        assert file.shape == values.shape
        for number, expected in enumerate(values):
            assert np.array_equal(file.read(number), expected)
    assert store.find("b2") is None


@pytest.mark.parametrize("damage", ["cut", "longer", "other file", "header"])
def test_what_is_damaged_is_not_found(store: PlaneStore, damage: str) -> None:
    path = store.write("a1", planes(), FACTS).path
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-1],
            "longer": content + b"1",
            "other file": b"something else\n" * 9,
            "header": content.replace(b'"shape": [2,', b'"shape": [9,'),
        }[damage]
    )
    assert store.find("a1") is None
    store.write("a1", planes(), FACTS)
    assert store.find("a1") is not None


def test_a_file_that_is_gone_is_said_in_one_line(store: PlaneStore) -> None:
    file = store.write("a1", planes(), FACTS)
    file.path.unlink()
    with pytest.raises(BadInput, match="slices of this training were removed from it; start it again"):
        file.read(0)


def test_unused_files_are_removed_above_the_limit_the_oldest_first(
    store: PlaneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, key in enumerate("abc"):
        path = store.write(key, planes(), FACTS).path
        os.utime(path, (number, number))
    monkeypatch.setattr(plane_store, "_MAX_UNUSED_BYTES", 2 * path.stat().st_size)
    store.close()
    assert names(store) == ["b", "c"]
    assert sorted(p.suffix for p in store.folder.iterdir()) == [".planes"] * 2


def test_what_another_training_reads_is_not_removed(
    store: PlaneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane_store, "_MAX_UNUSED_BYTES", 0)
    store.write("a", planes(), FACTS)
    store.write("b", planes(), FACTS)
    other = PlaneStore(store.folder)
    assert other.find("a") is not None
    store.close()
    assert names(store) == ["a"]
    other.close()
    assert names(store) == []


def test_the_list_of_a_killed_training_holds_nothing(
    store: PlaneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane_store, "_MAX_UNUSED_BYTES", 0)
    store.write("a", planes(), FACTS)
    for suffix, text in ((".lock", ""), (".names", "a.planes\n")):
        path = store.folder / f"killed{suffix}"
        path.write_text(text)
        os.utime(path, (1, 1))
    store.close()
    assert list(store.folder.iterdir()) == []


def test_a_full_disk_is_said_before_anything_is_written(
    store: PlaneStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("kept", planes(), FACTS)
    PlaneStore(store.folder).write("unused", planes(), FACTS)  # its lock ends with it
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 2**30))
    monkeypatch.setattr(plane_store, "_BEGUN_S", 0)
    with pytest.raises(BadInput, match=r"the disk has 1\.0 GB left, too little .* set NAPARI_LATENTSEG_HOME"):
        store.write("new", planes(), FACTS)
    assert names(store) == ["kept"]

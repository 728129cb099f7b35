"""A disk that refuses, a process that ends: at each step of a save in turn."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from tests.helpers.annotated import CLASSES, contents, make_mask, make_scan

from napari_latentseg.annotations import AnnotationStore, durable_io
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

Healthy = Callable[[Path], AnnotationStore]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")

STEPS = (
    (os, "open"),
    (os, "fsync"),
    (os, "write"),
    (os, "ftruncate"),
    (Path, "replace"),
    (Path, "write_text"),
)
"""The calls by which a store reaches the disk."""


class Steps:
    """Counts the steps, and does something at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, do: Callable[[], None]) -> None:
        self.count = 0
        for module, name in STEPS:
            monkeypatch.setattr(module, name, self._counted(getattr(module, name), at, do))

    def _counted(self, function: Callable[..., Any], at: int, do: Callable[[], None]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == at:
                do()
            return function(*args, **options)

        return counted


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def first_of_a_new_image(store: AnnotationStore) -> None:
    scan = make_scan("grey", 1)
    store.approve(scan, make_mask(scan, 5), classes=CLASSES)


def again_of_a_known_image(store: AnnotationStore) -> None:
    scan = make_scan("grey")
    store.approve(scan, make_mask(scan, 5), classes=CLASSES)


def taking_back(store: AnnotationStore) -> None:
    store.revoke(store.approvals(revoked=True)[0])


def saving_a_draft(store: AnnotationStore) -> None:
    scan = make_scan("grey", 1)
    store.save_draft(scan, make_mask(scan, 5), classes=CLASSES)


def saving_a_draft_again(store: AnnotationStore) -> None:
    scan = make_scan("grey", 2)
    store.save_draft(scan, make_mask(scan, 5), classes=CLASSES)


WRITES = [
    first_of_a_new_image,
    again_of_a_known_image,
    taking_back,
    saving_a_draft,
    saving_a_draft_again,
]


def begin(folder: Path) -> AnnotationStore:
    """A store with one approval and one draft."""
    scan, other = make_scan("grey"), make_scan("grey", 2)
    store = AnnotationStore(folder)
    store.approve(scan, make_mask(scan), classes=CLASSES)
    store.save_draft(other, make_mask(other), classes=CLASSES)
    return store


def check(store: AnnotationStore, write: Callable[[AnnotationStore], None], *, done: bool | None) -> None:
    """What was there is there; what was to come is there wholly, or not at all."""
    scan, new = make_scan("grey"), make_scan("grey", 1)
    entries = store.approvals(revoked=True)
    assert len(entries) in ((2,) if done else (1, 2) if done is None else (1,)) or write not in WRITES[:2]
    assert entries[0].planes == (0,)
    shown = {one.content_hash: one for one in store.annotated_scans()}
    for one in shown.values():
        is_old = one.case == entries[0].case
        assert np.array_equal(np.asarray(one.scan.array), (scan if is_old else new).array)
    changed = write is again_of_a_known_image and len(entries) == 2
    if not entries[0].revoked:
        assert np.array_equal(store.annotation_of(scan).mask, make_mask(scan, 5 if changed else 0))
    else:
        assert write is taking_back
        assert done is not False
    if write is first_of_a_new_image and len(entries) == 2:
        assert np.array_equal(store.annotation_of(new).mask, make_mask(new, 5))


def check_drafts(
    store: AnnotationStore, write: Callable[[AnnotationStore], None], *, done: bool | None
) -> None:
    """The old draft or the new one is there, and whole."""
    drafts = store.drafts()
    found = [store.resume_draft(draft) for draft in drafts if not draft.in_use]
    masks = {np.asarray(scan.array).tobytes(): mask for scan, mask in found}
    old = masks[make_scan("grey", 2).array.tobytes()]
    wanted = [0] if write is not saving_a_draft_again else [5] if done else [0, 5]
    assert any(np.array_equal(old, make_mask(make_scan("grey", 2), n)) for n in wanted)
    new = masks.get(make_scan("grey", 1).array.tobytes())
    assert new is None or np.array_equal(new, make_mask(make_scan("grey", 1), 5))
    if write is saving_a_draft and done:
        assert new is not None


@pytest.fixture
def swift(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: a hundred stores are written to here."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


STRIDES = pytest.mark.parametrize(
    "stride",
    [pytest.param(3, id="every third step"), pytest.param(1, id="every step", marks=pytest.mark.slow)],
)


@STRIDES
@pytest.mark.parametrize("write", WRITES)
def test_a_disk_that_is_full_at_any_step(
    swift: Path, write: Callable[[AnnotationStore], None], healthy: Healthy, stride: int
) -> None:
    template = begin(swift / "template")
    template.close()
    refused = 0
    for at in range(1, 400, stride):
        folder = swift / "annotations"
        shutil.copytree(swift / "template", folder)
        store = AnnotationStore(folder)
        for draft in store.drafts():
            store.resume_draft(draft)
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, at, full)
            try:
                write(store)
                done = True
            except BadInput as error:
                done = False
                refused += 1
                told = str(error)
        if not done:
            assert "the annotations cannot be written (No space left on device)" in told
            assert "\n" not in told
        check(store, write, done=done)  # also for the window that goes on
        store.close()
        again = healthy(folder)
        check(again, write, done=done)
        check_drafts(again, write, done=done)
        again.close()
        with suppress(BadInput):
            write(again)  # and it can be done again, unless it was done
        shutil.rmtree(folder)
        if steps.count < at:
            break
    assert done, "the last round was to meet no fault"
    assert refused >= 4 // stride


@posix
@STRIDES
@pytest.mark.parametrize("write", WRITES)
def test_a_process_that_ends_at_any_step(
    swift: Path, write: Callable[[AnnotationStore], None], healthy: Healthy, stride: int
) -> None:
    begin(swift / "template").close()
    ended = 0
    for at in range(1, 400, stride):
        folder = swift / "annotations"
        shutil.copytree(swift / "template", folder)
        child = os.fork()
        if child == 0:  # nothing of pytest's may run here
            code = 70
            try:
                store = AnnotationStore(folder)
                for draft in store.drafts():
                    store.resume_draft(draft)
                Steps(pytest.MonkeyPatch(), at, lambda: os._exit(9))
                write(store)
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9)
        again = healthy(folder)
        check(again, write, done=True if code == 0 else None)
        check_drafts(again, write, done=True if code == 0 else None)
        assert not list(folder.rglob(".part-*"))
        again.close()
        assert AnnotationStore(folder).notes == ()  # mended once, and not again
        shutil.rmtree(folder)
        if code == 0:
            break
        ended += 1
    assert code == 0
    assert ended >= 4 // stride


def test_a_line_is_written_after_all_that_it_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: Scan
) -> None:
    """The order that a power cut needs: content, then name, then the line, each waited for."""
    happened: list[str] = []
    fsync, replace = os.fsync, Path.replace
    names: dict[int, str] = {}

    def synced(handle: int) -> None:
        happened.append(f"fsync {names.get(os.fstat(handle).st_ino, '?')}")
        fsync(handle)

    def replaced(self: Path, target: Path) -> Path:
        happened.append(f"replace {target.parent.name}/{target.name.split('.')[-1]}")
        return replace(self, target)

    store = AnnotationStore(tmp_path / "annotations")
    store.approve(scan, make_mask(scan), classes=CLASSES, planes=[0])
    for part in ("", "objects", "imagesTr", "labelsTr"):
        names[(store.folder / part).stat().st_ino] = f"folder {part}"
    names[(store.folder / "journal.jsonl").stat().st_ino] = "journal"
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    store.approve(scan, make_mask(scan, 1), classes=CLASSES, planes=[1])
    line = happened.index("fsync journal")
    assert happened[:line] == ["fsync ?", "replace objects/gz", "fsync folder objects"]
    assert happened[line + 1 :][:3] == ["fsync ?", "replace labelsTr/gz", "fsync folder labelsTr"]


# --- places that cannot be written


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A disk of 256 kB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_fills_up(small_disk: Path, healthy: Healthy) -> None:
    store = AnnotationStore(small_disk / "annotations")
    done = []

    def approve_until_it_is_full() -> None:
        for number in range(1000):
            scan = make_scan("volume", number)
            done.append((store.approve(scan, make_mask(scan, number), classes=CLASSES), number))

    with pytest.raises(BadInput, match="No space left on device"):
        approve_until_it_is_full()
    assert len(done) > 3
    again = healthy(store.folder)
    assert [e for e, _ in done] == again.approvals()
    for entry, number in done:
        found = again.annotation_of(make_scan("volume", number))
        assert found is not None
        assert found.case == entry.case
        assert np.array_equal(found.mask, make_mask(found.scan, number))


def test_a_disk_that_may_only_be_read(small_disk: Path, scan: Scan) -> None:
    folder = small_disk / "annotations"
    AnnotationStore(folder).approve(scan, make_mask(scan), classes=CLASSES)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    assert subprocess.run(remount, capture_output=True, check=False).returncode == 0
    before = contents(folder)
    store = AnnotationStore(folder)
    assert store.count_approved() == (6, 1)
    assert next(store.annotated_scans()).approved_planes == tuple(range(6))
    assert store.verify() == []
    assert store.drafts() == []
    for write in (store.approve, store.save_draft):
        with pytest.raises(BadInput, match="Read-only file system"):
            write(scan, make_mask(scan, 1), classes=CLASSES)
    assert contents(folder) == before


def test_a_journal_that_may_not_be_read(filled: AnnotationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refuse(self: Path, *args: Any, **options: Any) -> Any:
        if self.name == "journal.jsonl":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInput, match=r"journal.jsonl: cannot be read \(Permission denied\); ask for"):
        AnnotationStore(filled.folder)


# --- several at once


def test_another_that_writes_for_long_is_named(
    filled: AnnotationStore, scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_io, "LOCK_TIMEOUT_S", 0.2)
    before = contents(filled.folder)
    with FileLock(filled.folder / ".lock"):
        with pytest.raises(BadInput, match="is being written by another window or program; try again"):
            filled.approve(scan, make_mask(scan, 1), classes=CLASSES)
        assert AnnotationStore(filled.folder).count_approved() == (6, 1)  # reading waits for nobody
    assert contents(filled.folder) == before
    filled.approve(scan, make_mask(scan, 1), classes=CLASSES)


WRITER = """
import sys
from pathlib import Path
from tests.helpers.annotated import CLASSES, make_mask, make_scan
from napari_latentseg.annotations import AnnotationStore
store = AnnotationStore(Path(sys.argv[1]))
for number in range(6):
    scan = make_scan("volume", number)
    store.approve(scan, make_mask(scan, number), classes=CLASSES, planes=[int(sys.argv[2])])
    store.save_draft(scan, make_mask(scan, number), classes=CLASSES)
"""


def test_two_processes_on_one_store(tmp_path: Path, healthy: Healthy) -> None:
    root = Path(__file__).resolve().parents[2]
    folder = tmp_path / "annotations"
    command = [sys.executable, "-c", WRITER, str(folder)]
    children = [
        subprocess.Popen([*command, str(n)], cwd=root, stderr=subprocess.PIPE, text=True) for n in range(2)
    ]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
    store = healthy(folder)
    assert store.count_approved() == (12, 6)
    for one in store.annotated_scans():
        assert one.approved_planes == (0, 1)
    assert len(store.drafts()) == 12
    assert not any(draft.in_use for draft in store.drafts())

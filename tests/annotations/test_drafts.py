from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.annotated import CLASSES, KINDS, contents, make_mask, make_scan

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmented_region import SegmentedRegion
from napari_latentseg.errors import BadInput

MODEL = ("retina-vessels", "2", "ab" * 32)


def left(store: AnnotationStore) -> AnnotationStore:
    """The store as the next start finds it, this one having ended."""
    store.close()
    return AnnotationStore(store.folder)


@pytest.mark.parametrize("kind", KINDS)
def test_work_goes_on_where_it_ended(store: AnnotationStore, kind: str) -> None:
    scan = make_scan(kind)
    mask = make_mask(scan)
    saved = store.save_draft(scan, mask, classes=CLASSES, model=MODEL)
    assert store.drafts() == [saved]
    assert saved.in_use
    again = left(store)
    (draft,) = again.drafts()
    assert draft == saved
    assert not draft.in_use
    assert (draft.model, draft.classes, draft.axes) == (MODEL, CLASSES, scan.axes)
    found, values = again.resume_draft(draft)
    assert np.array_equal(values, mask)
    values[...] = 0  # it can be painted in
    assert np.array_equal(np.asarray(found.array), np.asarray(scan.array))
    assert (found.axes, found.geometry) == (scan.axes, scan.geometry)
    assert again.approvals() == []
    assert again.annotated_cases() == []
    assert not (again.folder / "imagesTr").exists()
    (mine,) = again.drafts()
    assert mine.in_use
    assert again.save_draft(found, values, classes=CLASSES, model=MODEL).id == mine.id  # in its place
    (now,) = left(again).drafts()
    assert not AnnotationStore(again.folder).resume_draft(now)[1].any()


@pytest.mark.parametrize(
    "region",
    [None, SegmentedRegion(5, 3, ((0, 1), (4, 4)), (1, 2, 9, 8), 5, True), SegmentedRegion(5, 2, None)],
)
def test_a_draft_knows_what_was_segmented(
    store: AnnotationStore, scan: Scan, region: SegmentedRegion
) -> None:
    store.save_draft(scan, make_mask(scan), classes=CLASSES, segmented_region=region)
    (draft,) = left(store).drafts()
    assert draft.segmented_region == region


def test_what_has_not_changed_is_not_written_again(store: AnnotationStore, scan: Scan) -> None:
    mask = make_mask(scan)
    draft = store.save_draft(scan, mask, classes=CLASSES)
    path = store.folder / "drafts" / draft.id
    before = path.stat()
    assert store.save_draft(scan, mask.copy(), classes=CLASSES).id == draft.id
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    mask[5, 19, 23] ^= 1
    store.save_draft(scan, mask, classes=CLASSES)
    assert path.stat().st_ino != before.st_ino
    assert np.array_equal(left(store).resume_draft(draft)[1], mask)


def test_there_is_one_for_each_image_and_model(store: AnnotationStore, scan: Scan) -> None:
    other = make_scan("volume", 1)
    for image in (scan, other):
        for model in (None, MODEL, ("retina-vessels", "3", "cd" * 32), ("polyp", "1", "ef" * 32)):
            store.save_draft(image, make_mask(image), classes=CLASSES, model=model)
    assert len(store.drafts()) == 6  # a new version goes on with the draft of the last
    assert len(list((store.folder / "waiting").glob("*.nii.gz"))) == 2


def test_tags_keep_drafts_of_one_image_apart(store: AnnotationStore, scan: Scan) -> None:
    masks = {tag: make_mask(scan, number) for number, tag in enumerate(("", "0123abcd", "ff00ff00"))}
    saved = {tag: store.save_draft(scan, mask, classes=CLASSES, tag=tag) for tag, mask in masks.items()}
    assert len(store.drafts()) == 3
    again = left(store)
    for draft in again.drafts():
        values = again.resume_draft(draft)[1]
        assert again.save_draft(scan, values, classes=CLASSES, tag=draft.tag).tag == draft.tag
        (tag,) = [tag for tag, one in saved.items() if one.tag == draft.tag]
        assert np.array_equal(values, masks[tag])
    assert len(again.drafts()) == 3


def test_a_draft_that_is_approved_shares_its_image(store: AnnotationStore, scan: Scan) -> None:
    draft = store.save_draft(scan, make_mask(scan), classes=CLASSES)
    entry = store.approve(scan, make_mask(scan), classes=CLASSES)
    assert draft.case == entry.case
    assert store.drafts() == [draft]
    assert len(list(store.folder.rglob("scan-*_0000.nii.gz"))) == 1
    again = left(store)
    assert np.array_equal(np.asarray(again.resume_draft(draft)[0].array), scan.array)
    again.discard_draft(draft)
    assert again.drafts() == []
    assert again.count_approved() == (6, 1)
    assert again.verify() == []


def test_what_is_discarded_leaves_nothing(filled: AnnotationStore) -> None:
    before = contents(filled.folder)
    other = make_scan("volume", 1)
    one = filled.save_draft(other, make_mask(other), classes=CLASSES)
    two = filled.save_draft(other, make_mask(other), classes=CLASSES, model=MODEL)
    filled.discard_draft(one)
    again = left(filled)
    assert np.array_equal(again.resume_draft(two)[1], make_mask(other))
    again.discard_draft(two)  # by the name that it had when it was found
    assert contents(filled.folder) == before
    again.discard_draft(two)  # twice does no harm


def test_this_image_is_not_taken_over_twice(store: AnnotationStore, scan: Scan) -> None:
    store.save_draft(scan, make_mask(scan), classes=CLASSES)
    again = left(store)
    (draft,) = again.drafts()
    again.save_draft(scan, make_mask(scan, 1), classes=CLASSES)
    with pytest.raises(BadInput, match="is being edited here already"):
        again.resume_draft(draft)
    assert len(again.drafts()) == 2


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_damaged_draft_is_said_to_be_so(store: AnnotationStore, scan: Scan, cut: int) -> None:
    draft = store.save_draft(scan, make_mask(scan), classes=CLASSES)
    path = store.folder / "drafts" / draft.id
    path.write_bytes(path.read_bytes()[:cut])
    again = left(store)
    assert len(again.drafts()) == (cut == -1)
    with pytest.raises(BadInput, match="damaged"):
        again.resume_draft(draft)
    if cut != -1:
        assert any("is damaged, and is ignored" in note for note in again.notes)
        assert [(f.description, f.is_serious) for f in again.verify()] == [
            ("the draft is damaged; remove it", False)
        ]
    again.discard_draft(draft)
    assert not path.exists()


@pytest.mark.parametrize("id", ["../../etc/passwd", "", "a/b.draft"])
def test_only_a_draft_of_the_store_is_touched(store: AnnotationStore, scan: Scan, id: str) -> None:
    from dataclasses import replace

    draft = replace(store.save_draft(scan, make_mask(scan), classes=CLASSES), id=id)
    for method in (store.resume_draft, store.discard_draft):
        with pytest.raises(BadInput, match="does not belong to this store"):
            method(draft)


@pytest.mark.parametrize(
    ("mask", "words"),
    [(np.zeros((6, 20, 25), np.uint8), "has shape"), (np.zeros((6, 20, 24)), "not class numbers")],
)
def test_a_mask_that_does_not_fit_is_refused(
    store: AnnotationStore, scan: Scan, mask: np.ndarray, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        store.save_draft(scan, mask, classes=CLASSES)
    assert not store.folder.exists()


# --- two windows

HOLDER = """
import sys, time
from pathlib import Path
from tests.helpers.annotated import CLASSES, make_mask, make_scan
from napari_latentseg.annotations import AnnotationStore
scan = make_scan("volume")
store = AnnotationStore(Path(sys.argv[1]))
draft = store.save_draft(scan, make_mask(scan), classes=CLASSES)
print(draft.id, flush=True)
time.sleep(600)
"""


@pytest.fixture
def other_window(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A process with a draft of its own in the store; what it gives kills it."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "annotations")]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()

    def kill() -> None:
        process.kill()
        process.wait()

    yield kill
    kill()
    process.stdout.close()


def test_the_work_of_a_living_window_is_its_own_until_it_ends(
    store: AnnotationStore, scan: Scan, other_window: Callable[[], None]
) -> None:
    mine = store.save_draft(scan, make_mask(scan, 1), classes=CLASSES)
    assert len(store.drafts()) == 2  # the same image and model, in two windows
    (theirs,) = [draft for draft in store.drafts() if draft != mine]
    assert theirs.in_use
    for method in (store.resume_draft, store.discard_draft):
        with pytest.raises(BadInput, match="draft: is being edited in another window"):
            method(theirs)
    other_window()
    (theirs,) = [draft for draft in store.drafts() if not draft.in_use]
    store.discard_draft(mine)
    _, mask = store.resume_draft(theirs)
    assert np.array_equal(mask, make_mask(scan))


def test_unfinished_files_of_a_window_that_was_killed_go(
    store: AnnotationStore, scan: Scan, other_window: Callable[[], None]
) -> None:
    (theirs,) = store.drafts()
    folder = (store.folder / "drafts" / theirs.id).parent
    (folder / ".part-0123.nii.gz").write_bytes(b"half")
    (store.folder / "waiting" / "scan-89abcdef_0000.nii.gz").write_bytes(b"half")
    assert AnnotationStore(store.folder).notes == ()
    assert (folder / ".part-0123.nii.gz").exists()  # it lives, so they may be in the making
    other_window()
    again = AnnotationStore(store.folder)
    assert again.notes == ("1 unfinished files of a window that ended were removed",)
    assert not (folder / ".part-0123.nii.gz").exists()
    assert not (store.folder / "waiting" / "scan-89abcdef_0000.nii.gz").exists()
    assert np.array_equal(again.resume_draft(theirs)[1], make_mask(scan))


def test_a_draft_costs_little(store: AnnotationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a volume that is only touched, little is packed; of one that is not, nothing."""
    packed: list[int] = []
    compress = zlib.compress

    def counting(values: bytes, level: int) -> bytes:
        packed.append(len(values))
        return compress(values, level)

    monkeypatch.setattr(zlib, "compress", counting)
    scan = Scan(np.zeros((60, 256, 256), np.int16), "zyx", make_scan("volume").geometry)
    mask = np.zeros(scan.spatial_shape, np.uint8)
    mask[20:40, 64:192, 64:192] = 1
    draft = store.save_draft(scan, mask, classes=CLASSES)
    assert sum(packed) == mask.nbytes
    packed.clear()
    mask[30, 100:110, 100:110] = 2
    store.save_draft(scan, mask, classes=CLASSES)
    assert 0 < sum(packed) <= mask.nbytes / 10  # the piece that holds the stroke
    packed.clear()
    written = (store.folder / "drafts" / draft.id).stat().st_ino
    store.save_draft(scan, mask, classes=CLASSES)
    assert not packed
    assert (store.folder / "drafts" / draft.id).stat().st_ino == written  # replaced by no other file
    assert (store.folder / "drafts" / draft.id).stat().st_size < mask.nbytes / 50

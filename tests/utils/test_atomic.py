from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.atomic import (
    atomic_folder,
    atomic_path,
    bring_back_replaced,
    check_writable_folder,
    ensure_writable_folder,
)

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps other permissions")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# --- a file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_appears_whole(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "result.json"
    if before is not None:
        path.write_text(before)
    with atomic_path(path) as temporary:
        temporary.write_text("ne")
        assert (path.read_text() if path.exists() else None) == before
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["result.json"]


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_and_changes_nothing(
    tmp_path: Path, before: str | None, error: type[BaseException]
) -> None:
    path = tmp_path / "result.json"
    if before is not None:
        path.write_text(before)

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert names(tmp_path) == ([] if before is None else ["result.json"])
    assert before is None or path.read_text() == before


@pytest.mark.parametrize(
    ("name", "suffix", "expected"),
    [("a.nii.gz", "", ".gz"), ("a.nii.gz", ".nii.gz", ".nii.gz"), ("a", "", ""), ("a", ".png", ".png")],
)
def test_the_temporary_name_ends_as_the_writer_needs_it(
    tmp_path: Path, name: str, suffix: str, expected: str
) -> None:
    with atomic_path(tmp_path / name, suffix) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".part-")
        assert temporary.name.removeprefix(".part-").partition(".")[2] == expected.removeprefix(".")


def test_writers_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a") as one, atomic_path(tmp_path / "a") as two:
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one"  # the outer block ends last
    assert names(tmp_path) == ["a"]


def broken_place(tmp_path: Path, kind: str) -> Path:
    if kind == "no folder":
        return tmp_path / "nowhere" / "a.txt"
    if kind == "a file for a folder":
        (tmp_path / "file").write_text("")
        return tmp_path / "file" / "a.txt"
    if kind == "a folder of that name":
        (tmp_path / "a.txt" / "inside").mkdir(parents=True)
        return tmp_path / "a.txt"
    return tmp_path / ("a" * 300)


@pytest.mark.parametrize("kind", ["no folder", "a file for a folder", "a folder of that name", "too long"])
def test_a_place_where_no_file_can_be_is_named(tmp_path: Path, kind: str) -> None:
    path = broken_place(tmp_path, kind)
    before = names(tmp_path)
    with pytest.raises(BadInput, match="cannot be written") as found, atomic_path(path) as temporary:
        temporary.write_text("text")
    assert found.value.what == str(path)
    assert found.value.remedy
    assert names(tmp_path) == before


@unix
@pytest.mark.parametrize(("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_others_may_read_what_the_person_lets_them(tmp_path: Path, mask: int, file: int, folder: int) -> None:
    """Temporary files are for one's own eyes; results in a shared folder are not."""
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("text")
        with atomic_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == file
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == folder


@unix
def test_the_mask_of_other_threads_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the whole process: setting it for a moment would open the files of others."""

    def no_one(mask: int) -> int:
        raise AssertionError(f"umask({mask:o}) from {threading.current_thread().name}")

    monkeypatch.setattr(os, "umask", no_one)
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("text")
    with atomic_folder(tmp_path / "b"):
        pass


# --- a folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["nothing", "an empty folder"])
def test_a_folder_appears_whole(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "model"
    if before == "an empty folder":
        folder.mkdir()
    with atomic_folder(folder) as temporary:
        (temporary / "a").write_text("a")
        assert not (folder / "a").exists()
        (temporary / "b").mkdir()
    assert names(folder) == ["a", "b"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("before", ["nothing", "an empty folder"])
def test_a_failure_leaves_no_folder(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "model"
    if before == "an empty folder":
        folder.mkdir()

    def write_half() -> None:
        with atomic_folder(folder) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / "a").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert names(tmp_path) == ([] if before == "nothing" else ["model"])
    assert not folder.exists() or names(folder) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_is_not_written_over(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "model"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "card.json").write_text("mine")
    ran = False
    with pytest.raises(BadInput, match="model: already exists; choose another name"), atomic_folder(place):
        ran = True
    assert not ran
    assert (place if kind == "file" else place / "card.json").read_text() == "mine"


def test_what_came_in_between_is_not_written_over(tmp_path: Path) -> None:
    place = tmp_path / "model"

    def write_late() -> None:
        with atomic_folder(place) as temporary:
            (temporary / "a").write_text("a")
            place.mkdir()
            (place / "card.json").write_text("another's")

    with pytest.raises(BadInput, match="model: cannot be written"):
        write_late()
    assert names(place) == ["card.json"]
    assert names(tmp_path) == ["model"]


def test_the_folders_above_are_made(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a" / "b" / "c"):
        pass
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_folder(Path("model")) as temporary:
        (temporary / "a").write_text("a")
    assert names(tmp_path / "model") == ["a"]


# --- a usable folder -----------------------------------------------------------------------------------


def test_a_usable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert ensure_writable_folder(folder) == folder
    assert ensure_writable_folder(folder) == folder
    assert names(folder) == []


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_is_no_usable_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    what = "file above it" if below else "it"
    with pytest.raises(BadInput, match=f"cannot be the model folder: {what} is a file; choose a folder"):
        ensure_writable_folder(tmp_path / "file" / below, what="model folder")


@unix
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write anywhere")
    for do in (lambda: ensure_writable_folder(locked), lambda: ensure_writable_folder(locked / "below")):
        with pytest.raises(BadInput, match="cannot be written"):
            do()


class Killed(BaseException):
    """Stands for the end of the process: nothing after it is done."""


def test_a_folder_whose_replacement_was_killed_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    rename = Path.rename
    for kill_at, expected in ((1, "old"), (2, "old"), (3, "new")):
        with atomic_folder(folder, replace=True) as temporary:
            (temporary / "card").write_text("old")
        with monkeypatch.context() as patch:
            renames = 0

            def dying(self: Path, target: Path, kill_at: int = kill_at) -> Path:
                nonlocal renames
                renames += 1
                if renames == kill_at:
                    raise Killed
                return rename(self, target)

            patch.setattr(Path, "rename", dying)
            with suppress(Killed), atomic_folder(folder, replace=True) as temporary:
                (temporary / "card").write_text("new")
        bring_back_replaced(tmp_path)
        assert (folder / "card").read_text() == expected
        assert names(tmp_path) == ["model"]


def test_what_was_replaced_is_removed_where_the_new_folder_is_in_place(tmp_path: Path) -> None:
    for name in ("model", ".part-0123456789abcdef-former-model", ".part-of-a-user-former-x"):
        (tmp_path / name).mkdir()
    bring_back_replaced(tmp_path)
    assert names(tmp_path) == [".part-of-a-user-former-x", "model"]


@pytest.mark.parametrize("check", [ensure_writable_folder, check_writable_folder])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("http://user:secret@host/out", "it is an address"),
        ("dicomweb://host/out", "it is an address"),
        ("~/out", "a shell alone"),
    ],
)
def test_an_address_or_a_tilde_is_no_folder(tmp_path, monkeypatch, check, name, why):
    """`Path` makes ``http:/host`` of an address, and folders of these names were made."""
    monkeypatch.chdir(tmp_path)
    for folder in (Path(name), Path(name).absolute()):
        with pytest.raises(BadInput, match=why) as refused:
            check(folder)
        assert "secret" not in str(refused.value)
    assert names(tmp_path) == []


def test_a_folder_that_is_called_so_may_be_used(tmp_path):
    (tmp_path / "~").mkdir()
    assert ensure_writable_folder(tmp_path / "~") == tmp_path / "~"

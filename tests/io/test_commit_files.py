"""Several files are put in place together, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace as replaced
from pathlib import Path

import pytest
from tests.helpers.patients import Killed, broken_move
from tests.helpers.segmentation import segmentation

from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io.earlier_results import read_record
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.read_results import read_segmentation, sibling_record
from napari_latentseg.io.write_results import check_target, write_segmentation

# Writes a result of another model over those in the folders 1, 2, ..., and dies at the n-th rename in
# folder n. The processes are forks, as to begin each anew would take a second.
KILLED = """
import os, sys
from pathlib import Path
from tests.io.test_commit_files import result
from napari_latentseg.io.write_results import write_segmentation
new = result("2")
rename = Path.replace
for folder in sorted(Path(sys.argv[1]).iterdir(), key=lambda path: int(path.name)):
    process = os.fork()
    if process:
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
        continue
    remaining = int(folder.name)
    def dying(self, target):
        global remaining
        remaining -= 1
        if remaining == 0:
            os._exit(9)
        return rename(self, target)
    Path.replace = dying
    write_segmentation(new, folder, "T1", format="tiff")
    os._exit(0)
"""


def result(version: str) -> Segmentation:
    found = segmentation()
    model = found.record.model.model_copy(update={"version": version})
    return replaced(found, record=found.record.replace(model=model), mean=found.mean / int(version))


def error_of(action: Callable[[], object]) -> str:
    """What is refused; empty where nothing is."""
    try:
        action()
    except BadInput as error:
        return str(error)
    return ""


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path_sha256(path) for path in folder.iterdir()}


@pytest.mark.parametrize("format", ["nrrd", "tiff", "ome-zarr"])
@pytest.mark.parametrize("has_links", [True, False])
def test_a_failure_at_any_step_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, has_links: bool
) -> None:
    write_segmentation(result("1"), tmp_path, "T1", format=format, contours=True)
    before = contents(tmp_path)
    rename = Path.replace
    if not has_links:

        def no_link(*_: object) -> None:
            raise OSError("no hard links here")

        monkeypatch.setattr(Path, "hardlink_to", no_link)
    new_format = "ome-zarr" if format == "ome-zarr" else None
    for failing in range(1, 100):
        steps = []

        def replace(self: Path, target: Path, steps: list[Path] = steps, failing: int = failing) -> Path:
            steps.append(target)
            if len(steps) == failing:
                raise OSError(28, "No space left on device")
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            said = error_of(lambda: write_segmentation(result("2"), tmp_path, "T1", format=new_format))
        if not said:
            break
        assert "No space left" in said
        assert contents(tmp_path) == before
    assert failing > 5
    assert read_segmentation(tmp_path).record.model.version == "2"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_kill_at_any_step_leaves_one_of_the_two(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    steps = 14
    for step in range(1, steps + 1):
        write_segmentation(result("1"), tmp_path / str(step), "T1", format="nrrd", contours=True)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path)], cwd=root, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])},
        capture_output=True, text=True,
    )  # fmt: skip
    codes = [int(line) for line in run.stdout.split()]
    assert set(codes[:6]) == {9}
    assert codes[-1] == 0
    without_record = 0
    for step, code in enumerate(codes, 1):
        folder = tmp_path / str(step)
        record_path = folder / "T1_run.json"
        if record_path.exists():  # what other programs see, which know no journal
            files = read_record(record_path).files
            assert {name: path_sha256(folder / f"T1_{name}") for name in files} == files
        else:
            without_record += 1
        said = error_of(lambda path=record_path: read_segmentation(path))
        if said:
            assert "was being written when the program ended" in said
            assert error_of(lambda folder=folder: read_segmentation(folder)) == said
            mask_path = next(folder.glob("T1_mask.*"))
            assert error_of(lambda path=mask_path: sibling_record(path)) == said
        else:
            assert read_segmentation(record_path).record.model.version == ("1" if code else "2")
        again, metaimage = result("3"), "metaimage" if step % 2 else None
        sha256 = again.record.input.sha256
        check_target(again, folder, "T1", again.classes, format=metaimage, input_sha256=lambda s=sha256: s)
        write_segmentation(again, folder, "T1", format=metaimage)
        assert read_segmentation(folder).record.model.version == "3"
        suffixes = {path.name.partition(".")[2] for path in folder.glob("T1_*")}
        assert suffixes == {"mha" if step % 2 else "tif", "json"}
    assert without_record > 3


def killed_at(folder: Path, step: int, *, overwrite: bool) -> None:
    with broken_move(folder, step, Killed()), contextlib.suppress(Killed):
        write_segmentation(result("2"), folder, "T1", format="nrrd", overwrite=overwrite)


@pytest.mark.parametrize("step", range(1, 5))
@pytest.mark.parametrize("name", ["T1_mean.tif", "T1_mean.nrrd"])
@pytest.mark.parametrize("was_overwriting", [False, True])
def test_a_file_changed_after_a_kill_stays(
    tmp_path: Path, step: int, name: str, was_overwriting: bool
) -> None:
    """In another format the earlier file is to be removed; a file of the new name is to be replaced."""
    write_segmentation(result("1"), tmp_path, "T1", format="tiff")
    killed_at(tmp_path, step, overwrite=was_overwriting)
    (tmp_path / name).write_bytes(b"of a person")
    new = result("3")
    sha256 = new.record.input.sha256
    stays = rf"{re.escape(name)}: was changed after .* overwrite it \(--overwrite\)"
    for write in (
        lambda: check_target(new, tmp_path, "T1", new.classes, input_sha256=lambda: sha256),
        lambda: write_segmentation(new, tmp_path, "T1", format="nrrd"),
        lambda: write_segmentation(new, tmp_path, "T1", format="tiff"),
    ):
        with pytest.raises(BadInput, match=stays):
            write()
        assert (tmp_path / name).read_bytes() == b"of a person"
    write_segmentation(new, tmp_path, "T1", format="nrrd", overwrite=True)
    assert read_segmentation(tmp_path).record.model.version == "3"
    assert {path.name for path in tmp_path.glob("T1_*.tif")} == set()


def test_a_file_put_where_there_was_none_stays_after_a_kill(tmp_path: Path) -> None:
    killed_at(tmp_path, 2, overwrite=False)
    (tmp_path / "T1_variance.nrrd").write_bytes(b"of a person")
    with pytest.raises(BadInput, match=r"T1_variance\.nrrd: was changed after"):
        write_segmentation(result("3"), tmp_path, "T1", format="nrrd")
    assert (tmp_path / "T1_variance.nrrd").read_bytes() == b"of a person"


def test_a_link_to_nothing_is_in_the_way_of_nobody_who_overwrites(tmp_path: Path) -> None:
    (tmp_path / "T1_mean.nrrd").symlink_to(tmp_path / "gone")
    write_segmentation(result("1"), tmp_path, "T1", format="nrrd", overwrite=True)
    assert read_segmentation(tmp_path).record.model.version == "1"


def test_what_a_killed_process_left_long_ago_is_removed(tmp_path: Path) -> None:
    long_ago = 1_000_000_000
    for name in (".part-abcd_123", ".part-recent12", ".part-of-mine", ".part-journal1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "T1_mask.nrrd").write_text("half a file")
    (tmp_path / ".part-journal1" / "commit.json").write_text("{}")
    for path in [*tmp_path.rglob("*")]:
        if "recent" not in str(path):
            os.utime(path, (long_ago, long_ago))
    write_segmentation(result("1"), tmp_path, "T1", format="nrrd")
    left = {path.name for path in tmp_path.glob(".part-*")}
    assert left == {".part-recent12", ".part-of-mine", ".part-journal1"}

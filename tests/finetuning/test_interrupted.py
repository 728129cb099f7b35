"""A fine-tuning that is ended from outside is found again, and resumed from its checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_latentseg.cli import main
from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.interrupted import (
    InterruptedFineTuning,
    ResumeRequest,
    discard_interrupted,
    keep_data,
    list_interrupted,
)
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.models.candidates import candidate_folder, list_candidates
from napari_latentseg.models.card import read_card
from napari_latentseg.training.claim import OutputClaim
from napari_latentseg.training.events import FineTuneCheckpoint

Write = Callable[..., Path]


def interrupt(base: Path, data: Path, name: str = "mine") -> list[FineTuneCheckpoint]:
    """Fine-tune, and end it after a few steps as a process ends that is killed: nothing more is written."""
    request = ResumeRequest.of(
        base, [data], 0.05, device="cpu", labels=None, reader=None, structure=None, long_side=None, codec=None
    )
    checkpoints: list[FineTuneCheckpoint] = []

    def report(event: object) -> None:
        if isinstance(event, FineTuneCheckpoint):
            checkpoints.append(event)
            if len(checkpoints) == 5:
                raise KeyboardInterrupt

    job = FineTuneJob(
        base, data, minutes=0.05, name=name, device="cpu", checkpoint_every=0, request=request,
        on_progress=report,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        list(job)
    return checkpoints


def test_it_is_found_and_resumed(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = write_ellipses(tmp_path / "new data", 4, seed=5)
    assert list_interrupted() == []
    checkpoints = interrupt(taught_base, data)
    assert {event.name for event in checkpoints} == {"mine"}
    (found,) = list_interrupted()
    assert (found.name, found.seed, found.data, found.missing_data) == ("mine", 0, (data,), ())
    assert found.folder == Path(checkpoints[-1].folder)
    assert found.seconds == pytest.approx(checkpoints[-1].seconds, abs=0.06)
    assert not list_candidates()
    capsys.readouterr()
    assert main(["models", "candidates"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].strip()
    assert command.startswith("napari-latentseg finetune --model ")
    assert "new data'" in command  # quoted for the shell
    assert main(found.command_line()) == 0
    assert list_interrupted() == []
    assert list(list_candidates()) == ["mine"]
    assert not found.folder.exists()
    assert read_card(candidate_folder("mine")).parent == "ellipses 1"


def test_data_that_would_be_deleted_are_kept_with_it(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "layers", 4, seed=5)
    interrupt(taught_base, data)
    (found,) = list_interrupted()
    assert keep_data(data, found.folder)
    assert not data.exists()
    (found,) = list_interrupted()
    assert found.data == (found.folder / "data",)
    assert not found.missing_data
    assert main(found.command_line()) == 0
    assert list(list_candidates()) == ["mine"]
    assert not keep_data(tmp_path, found.folder)  # there is nothing to resume any more


def test_missing_data_are_named(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "new", 4, seed=5)
    interrupt(taught_base, data)
    shutil.rmtree(data)
    assert [entry.missing_data for entry in list_interrupted()] == [(data,)]


def test_one_that_is_running_is_neither_shown_nor_removed(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "new", 4, seed=5)
    interrupt(taught_base, data, "first")
    interrupt(taught_base, data, "second")
    assert [entry.name for entry in list_interrupted()] == ["second", "first"]
    claim = OutputClaim(candidate_folder("first"))
    assert claim.take()
    assert [entry.name for entry in list_interrupted()] == ["second"]
    with pytest.raises(BadInput, match="first: is being trained; stop it first"):
        discard_interrupted("first")
    claim.release()
    assert main(["models", "discard", "first"]) == 0
    assert [entry.name for entry in list_interrupted()] == ["second"]
    assert main(["models", "discard", "first"]) == 2


def test_the_command_has_all_that_was_given(tmp_path: Path) -> None:
    request = ResumeRequest.of(
        "any-structure", [tmp_path], 3, device="cpu", labels={1: "cyst"}, reader="smith", structure="cyst",
        long_side=512, codec="embedded",
    )  # fmt: skip
    entry = InterruptedFineTuning(
        name="cyst", folder=tmp_path, request=request, seed=4, seconds=9, data=(tmp_path,)
    )
    expected = (
        f"finetune --model any-structure --data {tmp_path} --minutes 3 --device cpu --seed 4 --name cyst"
        " --labels 1=cyst --structure cyst --reader smith --long-side 512 --codec embedded --resume"
    )
    assert entry.command_line() == expected.split()


def test_a_folder_of_the_users_own_holds_no_paths(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "new", 4, seed=5)
    request = ResumeRequest(base="x", data=(str(data),), minutes=1)
    steps = iter(range(100))
    job = FineTuneJob(
        taught_base, data, tmp_path / "out", minutes=1, device="cpu", steps=9, request=request,
        should_stop=lambda: next(steps) > 8,
    )  # fmt: skip
    list(job)
    state = (job.checkpoint.folder / "state.json").read_text()
    assert '"request"' not in state
    assert str(data) not in state

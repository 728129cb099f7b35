"""Two fine-tunings at once: each has its own name from the beginning, and none loses its work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.models.candidates import list_candidates
from napari_latentseg.training.claim import OutputClaim
from napari_latentseg.training.output_dir import checkpoint_folder

Write = Callable[..., Path]


def job_of(base: Path, data: Path, **more: object) -> FineTuneJob:
    return FineTuneJob(base, data, minutes=1, device="cpu", steps=2, **more)  # type: ignore[arg-type]


def test_two_at_once_without_a_name_are_both_kept(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "d", 3)
    first, second = job_of(taught_base, data), job_of(taught_base, data)
    assert first.name == second.name == "ellipses-tuned"
    one, two = iter(first), iter(second)
    next(one)
    next(two)  # both have begun
    list(two)
    list(one)
    assert (first.name, second.name) == ("ellipses-tuned", "ellipses-tuned-2")
    assert list(list_candidates()) == ["ellipses-tuned", "ellipses-tuned-2"]
    assert not list((own_home / "candidates").glob("*.checkpoint"))


def test_a_name_that_was_given_is_refused_at_the_beginning(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "d", 3)
    first, second = (job_of(taught_base, data, name="mine") for _ in range(2))
    one = iter(first)
    next(one)
    with pytest.raises(BadInput, match="another fine-tuning is writing 'mine'; wait for it"):
        next(iter(second))
    list(one)
    assert list(list_candidates()) == ["mine"]
    with pytest.raises(BadInput, match="already exists"):
        next(iter(second))


def test_a_fine_tuning_that_ends_before_it_learns_gives_the_name_back(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "d", 3)
    with pytest.raises(Cancelled):
        list(job_of(taught_base, data, name="mine", should_stop=lambda: True))
    assert not checkpoint_folder(own_home / "candidates" / "mine").exists()


def test_a_claim_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import os, sys; from pathlib import Path; from napari_latentseg.training.claim import OutputClaim\n"
        "claim = OutputClaim(Path(sys.argv[1])); assert claim.take(); print('taken', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"taken\n"
        assert not OutputClaim(out).take()
        process.kill()
    assert checkpoint_folder(out).is_dir()
    claim = OutputClaim(out)
    assert claim.take()
    claim.release()
    assert not checkpoint_folder(out).exists()

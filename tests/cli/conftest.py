"""Running the command line in this process, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from napari_latentseg.cli import main


@dataclass(frozen=True)
class Ended:
    """The exit code, the standard output, and the lines of the standard error."""

    code: int
    out: str
    errors: list[str]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*args: object) -> Ended:
        capsys.readouterr()
        code = main([str(a) for a in args])
        found = capsys.readouterr()
        return Ended(code, found.out, found.err.splitlines())

    return run


@pytest.fixture
def refused(cli: Callable[..., Ended]) -> Callable[..., str]:
    """Runs what must be refused: exit code 2, nothing on the output, one line on the standard error."""

    def run(*args: object) -> str:
        ended = cli(*args)
        assert ended.code == 2, ended
        assert ended.out == ""
        assert len(ended.errors) == 1, ended.errors
        assert ended.errors[0].startswith("error: ")
        return ended.errors[0].removeprefix("error: ")

    return run

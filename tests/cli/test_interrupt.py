"""Signals to a long command."""

from __future__ import annotations

import signal

import pytest

from napari_latentseg.cli import interrupt
from napari_latentseg.cli.interrupt import Terminated, stop_on_interrupt


def command_that_gets(*numbers: int) -> bool:
    """Signals to a command that can be stopped; returns whether it was asked to."""
    with stop_on_interrupt() as stop_requested:
        for number in numbers:
            signal.raise_signal(number)
        return stop_requested.is_set()


def test_a_second_signal_to_terminate_ends_the_command_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_ONE_REQUEST_S", 0.0)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as ended:
        command_that_gets(signal.SIGTERM, signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_a_launcher_passes_on_twice_is_one_request() -> None:
    assert command_that_gets(signal.SIGTERM, signal.SIGTERM)


def test_after_a_stop_by_a_scheduler_ctrl_c_still_ends_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        command_that_gets(signal.SIGTERM, signal.SIGINT)

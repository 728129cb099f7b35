"""The units that napari asks for with each layer are made beside the GUI thread, and handed over whole."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

import pint
import pytest

from napari_latentseg.widgets._shared.unit_registry import is_waiting, prepare_unit_registry


@pytest.fixture(autouse=True)
def unused_registry() -> Iterator[None]:
    """The application's registry as it is when the window opens: not made yet."""
    used = pint.get_application_registry().get()
    pint.set_application_registry(pint.LazyRegistry())
    yield
    pint.set_application_registry(used)


def prepare_in_thread() -> None:
    thread = Thread(target=prepare_unit_registry)
    thread.start()
    thread.join()


def test_it_is_handed_over_in_the_gui_thread(qtbot: Any) -> None:
    prepare_in_thread()
    assert is_waiting()  # until the event loop turns
    qtbot.waitUntil(lambda: not is_waiting())
    assert str(pint.get_application_registry().mm) == "millimeter"


def test_one_that_a_layer_uses_is_not_replaced(qtbot: Any) -> None:
    prepare_in_thread()
    used = pint.get_application_registry().pixel  # what napari does, before the event loop turns
    qtbot.wait(50)
    assert pint.get_application_registry().pixel == used  # units of two registries cannot be compared
    prepare_in_thread()
    qtbot.wait(50)
    assert pint.get_application_registry().pixel == used

"""What was read for a check is held until it is used, as far as there is room."""

from __future__ import annotations

from napari_latentseg.data.held_reads import HeldReads


def test_a_value_is_given_from_memory_once_and_then_read() -> None:
    read = HeldReads(max_bytes=10).hold("held", 10, lambda: "read")
    assert [read(), read(), read()] == ["held", "read", "read"]


def test_what_does_not_fit_is_read_again() -> None:
    held = HeldReads(max_bytes=10)
    first, second = held.hold("held", 6, lambda: "read"), held.hold("held", 6, lambda: "read")
    assert [second(), first()] == ["read", "held"]


def test_room_is_free_again_after_the_use() -> None:
    held = HeldReads(max_bytes=10)
    held.hold("first", 6, lambda: "read")()
    assert held.hold("second", 6, lambda: "read")() == "second"

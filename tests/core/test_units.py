"""Units: one table for all formats."""

from __future__ import annotations

import pytest

from napari_latentseg.core.units import (
    MM_PER_UNIT,
    NGFF_NAMES,
    OME_SYMBOLS,
    SECONDS,
    as_known_unit,
    conversion,
)


def test_what_is_written_is_read() -> None:
    ours = MM_PER_UNIT | SECONDS
    assert set(NGFF_NAMES) == set(ours)
    assert set(OME_SYMBOLS) == {*ours, "pixel"}
    for name in ours:
        for text in (name, NGFF_NAMES[name], OME_SYMBOLS[name], f" {name} "):
            assert as_known_unit(text) == (1.0, name)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("", (1.0, "pixel")),
        ("\N{GREEK SMALL LETTER MU}m", (1.0, "um")),
        ("inches", (25.4, "mm")),
        ("\N{ANGSTROM SIGN}", (0.1, "nm")),
        ("hour", (3600.0, "s")),
        ("ns", (1e-3, "us")),
        ("parsec", None),
        ("reference frame", None),
    ],
)
def test_what_files_say(text: str, known: tuple[float, str] | None) -> None:
    assert as_known_unit(text) == known


def test_only_what_is_of_one_kind_is_converted() -> None:
    assert conversion("m", "um") == pytest.approx(1e6)
    assert conversion("ms", "s") == 1e-3
    assert conversion("ell", "ell") == 1.0
    for unit, to in (("mm", "s"), ("mm", "pixel"), ("pixel", "mm"), ("ell", "mm")):
        assert conversion(unit, to) is None

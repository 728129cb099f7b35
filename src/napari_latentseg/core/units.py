"""Units of length and time: names in this package, spellings in files and libraries, and sizes.

The only table of units in this package. Not pint: two dozen spellings need no registry of all units, which
takes a third of a second to load.
"""

from __future__ import annotations

__all__ = [
    "MM_PER_UNIT",
    "NGFF_NAMES",
    "OME_SYMBOLS",
    "SECONDS",
    "as_known_unit",
    "canonical_unit",
    "conversion",
]

MM_PER_UNIT: dict[str, float] = {"nm": 1e-6, "um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}
"""The length of each unit in millimetres."""

SECONDS: dict[str, float] = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
"""The duration of each unit in seconds."""

NGFF_NAMES: dict[str, str] = {
    "nm": "nanometer", "um": "micrometer", "mm": "millimeter", "cm": "centimeter", "m": "meter",
    "s": "second", "ms": "millisecond", "us": "microsecond",
}  # fmt: skip
"""The name of each unit in OME-NGFF, UDUNITS-2 and pint."""

_MICRO = ("\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}")

OME_SYMBOLS: dict[str, str] = {
    "nm": "nm", "um": f"{_MICRO[0]}m", "mm": "mm", "cm": "cm", "m": "m", "pixel": "pixel",
    "s": "s", "ms": "ms", "us": f"{_MICRO[0]}s",
}  # fmt: skip
"""The symbol of each unit in OME-XML."""

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "pixel": ("", "px"),
    "nm": ("nanometre",),
    "um": (*(f"{sign}m" for sign in _MICRO), "micron", "micrometre"),
    "mm": ("millimetre",),
    "cm": ("centimetre",),
    "m": ("metre",),
    "s": ("sec",),
    "ms": ("msec",),
    "us": (*(f"{sign}s" for sign in _MICRO), "usec"),
}
_NAMES = {text: name for name, texts in _SPELLINGS.items() for text in texts} | {
    text: name for name, text in NGFF_NAMES.items()
}

_CONVERTED_UNITS: dict[str, tuple[float, str]] = {
    **dict.fromkeys(("pm", "picometer"), (1e-3, "nm")),
    **dict.fromkeys(
        ("\N{ANGSTROM SIGN}", "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}", "angstrom"), (0.1, "nm")
    ),
    **dict.fromkeys(("dm", "decimeter"), (10.0, "cm")),
    **dict.fromkeys(("in", "inch", "inches"), (25.4, "mm")),
    **dict.fromkeys(("thou", "mil"), (0.0254, "mm")),
    **dict.fromkeys(("ns", "nanosecond"), (1e-3, "us")),
    **dict.fromkeys(("min", "minute"), (60.0, "s")),
    **dict.fromkeys(("h", "hr", "hour"), (3600.0, "s")),
    **dict.fromkeys(("d", "day"), (86400.0, "s")),
}
"""Units that files use and this package does not: their size, and the unit of this package it is in."""


def canonical_unit(text: object) -> str:
    """The name of a unit in this package: ``"mm"`` for ``"millimeter"``, ``"um"`` for ``"µm"``.

    Parameters
    ----------
    text
        A unit as a file or library spells it. An unknown unit is returned unchanged.

    Examples
    --------
    >>> canonical_unit("millimeter"), canonical_unit("micron"), canonical_unit("furlong")
    ('mm', 'um', 'furlong')
    """
    name = str(text).strip()
    return _NAMES.get(name) or _NAMES.get(_singular(name), name)


def _singular(name: str) -> str:
    """A word in lower case and without a plural s; symbols, in which case counts, are left as they are."""
    word = name.lower().rstrip(".")
    is_word = len(word) >= 3 and word.isascii()
    return word.removesuffix("s") if is_word else name


def as_known_unit(text: object) -> tuple[float, str] | None:
    """Convert a unit to one of this package: ``(25.4, "mm")`` for ``"inch"``.

    Parameters
    ----------
    text
        A unit as a file or library spells it.

    Returns
    -------
    tuple of float and str, or None
        The factor, and a name in `MM_PER_UNIT` or `SECONDS`, or ``"pixel"``; None if the unit is unknown.

    Examples
    --------
    >>> as_known_unit("inch"), as_known_unit("micrometer"), as_known_unit("furlong")
    ((25.4, 'mm'), (1.0, 'um'), None)
    """
    name = canonical_unit(text)
    if name in MM_PER_UNIT or name in SECONDS or name == "pixel":
        return 1.0, name
    return _CONVERTED_UNITS.get(name) or _CONVERTED_UNITS.get(_singular(name))


def conversion(unit: str, to: str) -> float | None:
    """The factor that converts lengths in `unit` to lengths in `to`; None if there is no conversion.

    Parameters
    ----------
    unit, to
        Names as `canonical_unit` gives them.

    Examples
    --------
    >>> conversion("cm", "mm"), conversion("s", "mm"), conversion("pixel", "mm")
    (10.0, None, None)
    >>> conversion("um", "nm")
    1000.0
    """
    if unit == to:
        return 1.0
    for table in (MM_PER_UNIT, SECONDS):
        if unit in table and to in table:
            smallest = min(table.values())  # as whole numbers of it: 1e-3 / 1e-6 is a little more than 1000
            return round(table[unit] / smallest) / round(table[to] / smallest)
    return None

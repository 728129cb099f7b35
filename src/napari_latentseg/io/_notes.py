"""What several readers say of what they had to assume."""

from __future__ import annotations

NO_TIME_UNIT_NOTE = "the file gives no unit of time; seconds were assumed"


def no_thickness_note(unit: str = "mm") -> str:
    """The note for a single slice whose file does not give its thickness, for which 1 is taken.

    Parameters
    ----------
    unit
        Of length.
    """
    return f"the file does not say how thick its slice is; volumes are those of 1 {unit}"

"""The list of cases that readers work through, and what changed between two readings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import as_path

if TYPE_CHECKING:
    from napari_latentseg.caselist.listed_case import ListedCase
    from napari_latentseg.evaluation.reader_comparison import ReaderComparison

__all__ = ["compare_readings", "list_cases"]


def list_cases(source: str | Path, results: str | Path | None = None) -> list[ListedCase]:
    """The cases of a folder, a list or a batch, those to look at first on top; opens no image.

    Parameters
    ----------
    source
        A folder of images, a CSV file with the columns case and path, the results of a batch, or a folder
        with masks in `masks/`, `labelsTr/` or beside the images.
    results
        A folder of results, or of masks with the names of the images; where not given, they are looked for
        among the images.

    Returns
    -------
    list of ListedCase
        With state, readers, sizes, doubt and comments. `CaseList` writes decisions.

    Raises
    ------
    BadInput
        If there is no such folder, it holds no case, or the journal of the list cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from napari_latentseg import list_cases, segment_files
    >>> from PIL import Image
    >>> Path("scans").mkdir()
    >>> for name in ("case-1", "case-2"):
    ...     Image.fromarray(np.zeros((64, 64), np.uint8)).save(f"scans/{name}.png")
    >>> done = list(segment_files("scans/case-2.png", "breast-ultrasound", "results"))
    >>> [(case.name, case.state) for case in list_cases("scans", "results")]
    [('case-2', 'segmented'), ('case-1', 'new')]
    """
    from napari_latentseg.caselist.case_list import CaseList

    path = as_path("source", source)
    return CaseList(path, None if results is None else as_path("results", results)).rows()


def compare_readings(source: str | Path, case: str, results: str | Path | None = None) -> ReaderComparison:
    """What changed between the readings of a case: the masks of its readers, pair by pair.

    Parameters
    ----------
    source, results
        The list, as for `list_cases`.
    case
        The name of the case.

    Returns
    -------
    ReaderComparison
        As `compare_readers` gives it, by the names of the readers.

    Raises
    ------
    BadInput
        If there is no such case, fewer than two readers have approved a mask of it, or a mask is gone.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from napari_latentseg import CaseList, Geometry, Scan, compare_readings
    >>> from PIL import Image
    >>> Path("scans").mkdir()
    >>> Image.fromarray(np.zeros((20, 20), np.uint8)).save("scans/case-1.png")
    >>> geometry = Geometry.from_spacing("yx", (0.5, 0.5), "mm")
    >>> with CaseList("scans") as cases:
    ...     for reader, width in (("Anna", 10), ("Ben", 9)):
    ...         mask = np.zeros((20, 20), np.uint8)
    ...         mask[5:15, 5 : 5 + width] = 1
    ...         case = cases.decide("case-1", reader, "approve", mask=Scan(mask, "yx", geometry))
    >>> (pair,) = compare_readings("scans", "case-1").pairs
    >>> pair.first, pair.second, round(pair.dsc, 3)
    ('Anna', 'Ben', 0.947)
    """
    from napari_latentseg.api.readers import compare_readers
    from napari_latentseg.caselist.case_list import CaseList
    from napari_latentseg.caselist.results import classes_of_result

    path = as_path("source", source)
    cases = CaseList(path, None if results is None else as_path("results", results))
    readings = cases.reading_paths(case)
    if len(readings) < 2:
        raise BadInput(case, f"has {len(readings)} of the 2 readings", "ask for a second reading")
    return compare_readers(dict(readings), classes=classes_of_result(cases.case(case).result))

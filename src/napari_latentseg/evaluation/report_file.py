"""Reading the JSON file of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.report import EvaluationReport
from napari_latentseg.utils.json_text import load_json

__all__ = ["read_evaluation"]

# by key in the file the name of the field
_FIELDS = {"count": "image_count", "trained_on": "training_count", "kept_apart": "validation_count"}
# what a comparison does not need, and what versions may have changed
_UNUSED = ("calibration", "intervals", "median", "paired", "by_samples", "stability", "readers")


def read_evaluation(path: Path, *, with_statistics: bool = False) -> EvaluationReport:
    """The scores of an evaluation that was written before, by this version or an earlier one.

    Parameters
    ----------
    path
        Written by ``evaluate --out``, or printed by ``evaluate --json``.
    with_statistics
        Whether what was computed of the scores, such as their intervals, is read too; a file of another
        version may have it in another form.

    Returns
    -------
    EvaluationReport

    Raises
    ------
    BadInput
        If it cannot be read, or is no such file.
    """
    remedy = "give a file written by evaluate --out, or the name of a model"
    try:
        values: Any = load_json(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})", remedy) from error
    except ValueError as error:
        raise BadInput(path, "is not valid JSON", remedy) from error
    if not isinstance(values, dict) or "images" not in values or "conventions" not in values:
        raise BadInput(path, "holds no scores of images", remedy)
    fields = _with_field_names(values)
    if not with_statistics:
        fields = {name: value for name, value in fields.items() if name not in _UNUSED}
    elif isinstance(paired := fields.get("paired"), dict):
        fields["paired"] = _with_field_names(paired)
    try:
        report = EvaluationReport.model_validate(fields)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BadInput(path, f"holds no scores of images ({place} is not as expected)", remedy) from error
    if not report.images:
        raise BadInput(path, "holds no scores of images", remedy)
    return report


def _with_field_names(values: dict[str, Any]) -> dict[str, Any]:
    return {_FIELDS.get(key, key): value for key, value in values.items()}

"""Records as JSON for other programs, under keys that stay when a field is renamed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_latentseg.measure import Measurement
    from napari_latentseg.models.versions import ModelVersion
    from napari_latentseg.review import Finding

__all__ = ["finding_json", "measurement_json", "version_json"]

# By field, the key that version 0.1.0 introduced. Fields that are not listed are their own key.
_MEASUREMENT_KEYS = {
    "object_number": "object",
    "interval_source": "interval_is",
    "long_axis": "longest",
    "short_axis": "across",
}
_FINDING_KEYS = {"object_number": "number", "reason": "why"}
_VERSION_KEYS = {"is_current": "current", "comparison": "line"}


def measurement_json(measurement: Measurement) -> dict[str, Any]:
    """A measurement with its title and its volume in ml."""
    record = _with_keys(asdict(measurement), _MEASUREMENT_KEYS)
    return {"title": measurement.title, **record, "ml": measurement.ml}


def finding_json(finding: Finding) -> dict[str, Any]:
    """A slice or object of the review queue."""
    return _with_keys(asdict(finding), _FINDING_KEYS)


def version_json(version: ModelVersion) -> dict[str, Any]:
    """A version of a model."""
    return _with_keys(asdict(version), _VERSION_KEYS)


def _with_keys(record: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    return {
        keys.get(name, name): str(value) if isinstance(value, Path) else value
        for name, value in record.items()
    }

"""Metadata of OME-Zarr images: axes, scales, translations (https://ngff.openmicroscopy.org/0.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL
from napari_latentseg.core.units import NGFF_NAMES, as_known_unit
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    import dask.array as da
    from yaozarrs import v05

_NEWEST_VERSION = (0, 5)
_V01_AXES = ("t", "c", "z", "y", "x")


@dataclass(frozen=True)
class AxisLayout:
    """Axes and geometry of an image, and how its stored arrays are brought to these axes."""

    axes: str
    geometry: Geometry
    _dropped_axes: tuple[int, ...]
    _order: tuple[int, ...]

    def to_scan_axes(self, array: da.Array) -> da.Array:
        """Transpose a resolution level to the order `t z y x c`, without the dropped axes."""
        import dask.array as da

        reordered: da.Array = da.squeeze(array, axis=self._dropped_axes).transpose(self._order)
        return reordered


def check_version(path: Path, attributes: Mapping[str, Any]) -> None:
    """Refuse a version of OME-NGFF after 0.5, whose metadata mean other things.

    Raises
    ------
    BadInput
        If the group states such a version.
    """
    version = str(attributes.get("ome", {}).get("version", ""))
    numbers = [int(part) for part in version.split(".") if part.isdigit()]
    if tuple(numbers[:2]) > _NEWEST_VERSION:
        why = f"is OME-Zarr of version {numbers[0]}.{numbers[1] if len(numbers) > 1 else 0}"
        raise BadInput(path, f"{why}; versions up to 0.5 are read", "save it as version 0.5")


def multiscale_metadata(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metadata of the first multiscale image (OME-NGFF 0.5 or earlier); None if there is none."""
    multiscales = attributes.get("ome", attributes).get("multiscales")
    return dict(multiscales[0]) if multiscales else None


def channel_display(attributes: Mapping[str, Any]) -> list[dict[str, str]]:
    """Names and colours (``"#rrggbb"``) of the channels; empty text where the image does not say.

    Notes
    -----
    They are in the optional block ``omero``; malformed entries of it are ignored.
    """
    inner = attributes.get("ome", attributes)
    omero = inner.get("omero") if isinstance(inner, Mapping) else None
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    return [_channel(channel) for channel in channels] if isinstance(channels, list) else []


def _channel(channel: Any) -> dict[str, str]:
    attributes = channel if isinstance(channel, Mapping) else {}
    label, colour = str(attributes.get("label") or ""), str(attributes.get("color") or "").lstrip("#")
    is_hex = len(colour) == 6 and all(c in "0123456789abcdefABCDEF" for c in colour)
    return {"name": label, "colour": f"#{colour.lower()}" if is_hex else ""}


def image_names(path: Path, group: Any) -> list[str]:
    """Paths of the images in a Zarr group: ``""`` for the group itself, or ``"0"``, ``"1"`` (Bio-Formats).

    Raises
    ------
    BadInput
        If there is no image, or the group is a plate or a well.
    """
    attributes = group.attrs.asdict()
    check_version(path, attributes)
    if multiscale_metadata(attributes) is not None:
        return [""]
    inner = attributes.get("ome", attributes)
    if "plate" in inner or "well" in inner:
        raise BadInput(path, "is a plate or a well of many images", "give the folder of one of its images")
    names: list[str] = []
    while str(len(names)) in group and multiscale_metadata(group[str(len(names))].attrs.asdict()) is not None:
        names.append(str(len(names)))
    if not names:
        raise BadInput(path, "is a Zarr without an OME-Zarr image", "give the folder of the image itself")
    return names


def axis_layout(path: Path, metadata: Mapping[str, Any], shape: tuple[int, ...]) -> AxisLayout:
    """Axes and geometry of the level of full resolution.

    Parameters
    ----------
    path
        For messages.
    metadata
        As `multiscale_metadata` returns it.
    shape
        Of the stored array, in its own order of axes.

    Raises
    ------
    BadInput
        If axes or units are unknown, or the coordinate transformation is not a scale and a translation.
    """
    axis_metadata = metadata.get("axes", [{"name": n} for n in _V01_AXES])
    axes = [{"name": a} if isinstance(a, str) else dict(a) for a in axis_metadata]
    names = [CHANNEL if a.get("type") == "channel" else str(a["name"]).lower() for a in axes]
    if len(names) != len(shape) or not set(names) <= set("tczyx") or len(set(names)) != len(names):
        raise BadInput(path, "has axes that are not known", "use each of t, c, z, y and x at most once")
    if names[-2:] != ["y", "x"] and not {"y", "x"} <= set(names):
        raise BadInput(path, "has no axes y and x", "give an image with axes y and x")
    scale, translation = np.ones(len(names)), np.zeros(len(names))
    for transform in (
        *metadata["datasets"][0].get("coordinateTransformations", []),
        *metadata.get("coordinateTransformations", []),
    ):
        _apply_transform(path, transform, scale, translation)
    if "t" in names and scale[names.index("t")] < 0:
        raise BadInput(path, "has time points that run backwards", "repair its metadata")
    dropped_axes = tuple(i for i, n in enumerate(names) if n in "tc" and shape[i] == 1)
    kept = [i for i in range(len(names)) if i not in dropped_axes]
    order = sorted(range(len(kept)), key=lambda i: "tzyxc".index(names[kept[i]]))
    spatial = [kept[i] for i in order if names[kept[i]] != CHANNEL]
    units = []
    for i in spatial:
        factor, unit = _axis_unit(path, axes[i])
        units.append(unit)
        scale[i] *= factor
        translation[i] *= factor
    matrix = np.diag([*scale[spatial], 1.0])
    matrix[:-1, -1] = translation[spatial]
    labels = tuple(names[i] for i in spatial)
    geometry = Geometry.from_matrix(matrix, tuple(units), labels).in_one_unit()
    return AxisLayout("".join(names[kept[i]] for i in order), geometry, dropped_axes, tuple(order))


def _apply_transform(
    path: Path, transform: Mapping[str, Any], scale: NDArray[np.float64], translation: NDArray[np.float64]
) -> None:
    # Transformations are validated one by one. yaozarrs' `Image` as a whole refuses metadata that are common
    # and can be read: axes as names or without a type (up to 0.3), channels last, no transformation, an
    # identity, a translation before the scale or without one, levels in another order.
    from pydantic import ValidationError
    from yaozarrs import v05

    kind = transform.get("type")
    if kind == "identity":
        return
    if kind not in ("scale", "translation"):
        raise BadInput(
            path,
            "has a coordinate transformation that is not supported",
            "save it with a scale and a translation",
        )
    try:
        if kind == "scale":
            values = np.array(v05.ScaleTransformation.model_validate(dict(transform)).scale)
        else:
            values = np.array(v05.TranslationTransformation.model_validate(dict(transform)).translation)
    except ValidationError:
        why = f"has a {kind} that is not a list of numbers, one for each axis"
        raise BadInput(path, why, "repair its metadata") from None  # pydantic would quote the file
    if values.shape != scale.shape:
        why = f"has a {kind} of {len(values)} numbers for {len(scale)} axes"
        raise BadInput(path, why, "repair its metadata")
    if kind == "translation":
        translation += values
        return
    if not (np.isfinite(values).all() and values.all()):
        raise BadInput(path, "has a spacing of zero, or one that is not a number", "repair its metadata")
    scale *= values
    translation *= values


def _axis_unit(path: Path, axis: Mapping[str, Any]) -> tuple[float, str]:
    known = as_known_unit(axis.get("unit") or "pixel")
    if known is None:
        raise BadInput(path, f"has an axis {axis['name']} in an unknown unit", "use micrometers")
    return known


@dataclass(frozen=True)
class NgffMetadata:
    """Axes and geometry of an image to be written, in OME-NGFF's order of axes and names of units."""

    order: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    units: tuple[str, ...]

    def dataset_entry(self, name: str, factors: Sequence[int], is_mean: bool) -> v05.Dataset:
        """Metadata of one level: downsampling factor of each axis, and whether its pixels are means."""
        from yaozarrs import v05

        scale = [s * f for s, f in zip(self.scale, factors, strict=True)]
        # the centre of a mean of f pixels lies (f - 1) / 2 pixels from the first of them
        level_translation = [
            t + (s * (f - 1) / 2 if is_mean else 0.0)
            for s, t, f in zip(self.scale, self.translation, factors, strict=True)
        ]
        transforms: list[Any] = [v05.ScaleTransformation(scale=scale)]
        if any(level_translation):
            transforms.append(v05.TranslationTransformation(translation=level_translation))
        return v05.Dataset(path=name, coordinateTransformations=transforms)

    def group_metadata(self, datasets: list[v05.Dataset]) -> dict[str, Any]:
        """The attribute `ome` of the Zarr group, OME-NGFF 0.5."""
        from yaozarrs import v05

        kinds: dict[str, Any] = {"t": v05.TimeAxis, "c": v05.ChannelAxis}
        axes = [
            kinds.get(axis, v05.SpaceAxis)(name=axis, unit=unit or None)
            for axis, unit in zip(self.order, self.units, strict=True)
        ]
        image = v05.Image(multiscales=[v05.Multiscale(axes=axes, datasets=datasets)])
        return image.model_dump(exclude_none=True)


def ngff_metadata(path: Path, order: str, geometry: Geometry) -> NgffMetadata:
    """The OME-NGFF metadata of a geometry.

    Parameters
    ----------
    path
        For messages.
    order
        The axes as they are stored, with `c`: ``"tczyx"``.
    geometry
        Of all axes but `c`.

    Raises
    ------
    BadInput
        If OME-Zarr cannot hold it: rotated, sheared, with flipped rows or columns, or in a unit it does not
        know.
    """
    matrix = geometry.matrix
    spatial = order.replace(CHANNEL, "")
    steps = dict(zip(spatial, np.diag(matrix), strict=False))
    # slices may fall, which the standard has no word against; few viewers expect that of rows and columns
    if not geometry.is_axis_aligned or min(step for axis, step in steps.items() if axis != "z") <= 0:
        raise BadInput(path, "an OME-Zarr cannot hold a rotated or flipped geometry", "write NRRD instead")
    scale, translation, units = [], [], []
    for axis in order:
        if axis == CHANNEL:
            scale.append(1.0)
            translation.append(0.0)
            units.append("")
            continue
        i = spatial.index(axis)
        unit = geometry.units[i]
        if unit != "pixel" and unit not in NGFF_NAMES:
            raise BadInput(path, f"an OME-Zarr cannot hold the axis {axis} in {unit!r}", "write NRRD instead")
        scale.append(float(matrix[i, i]))
        translation.append(float(matrix[i, -1]))
        units.append(NGFF_NAMES.get(unit, ""))
    return NgffMetadata(order, tuple(scale), tuple(translation), tuple(units))

"""The metadata of OME-Zarr: axes, scales and translations (https://ngff.openmicroscopy.org/0.5)."""

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

_V01_AXES = ("t", "c", "z", "y", "x")


@dataclass(frozen=True)
class AxisLayout:
    """What the metadata of one image says, and how its arrays come to it."""

    axes: str
    geometry: Geometry
    _dropped_axes: tuple[int, ...]
    _order: tuple[int, ...]

    def to_scan_axes(self, array: da.Array) -> da.Array:
        """A level in our order of axes, without those of length one that are dropped."""
        import dask.array as da

        reordered: da.Array = da.squeeze(array, axis=self._dropped_axes).transpose(self._order)
        return reordered


def multiscale_metadata(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The description of the first multiscale image, of 0.5 or earlier; None where there is none."""
    multiscales = attributes.get("ome", attributes).get("multiscales")
    return dict(multiscales[0]) if multiscales else None


def channel_display(attributes: Mapping[str, Any]) -> list[dict[str, str]]:
    """What an image calls its channels, and their colours as ``"#rrggbb"``; empty where it does not say.

    Notes
    -----
    This part of the metadata is of OMERO's making and optional: what is odd in it is passed over.
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
    """Where the images lie in a group: in itself (an empty name), or numbered in it as Bio-Formats does it.

    Raises
    ------
    BadInput
        Where there are none.
    """
    attributes = group.attrs.asdict()
    if multiscale_metadata(attributes) is not None:
        return [""]
    inner = attributes.get("ome", attributes)
    if "plate" in inner or "well" in inner:
        raise BadInput(path, "is a plate or a well of many images", "give the folder of one of its images")
    names: list[str] = []
    while str(len(names)) in group and multiscale_metadata(group[str(len(names))].attrs.asdict()) is not None:
        names.append(str(len(names)))
    if not names:
        raise BadInput(path, "is a Zarr without an OME image in it", "give the folder of the image itself")
    return names


def axis_layout(path: Path, metadata: Mapping[str, Any], shape: tuple[int, ...]) -> AxisLayout:
    """Axes and geometry of the finest level.

    Raises
    ------
    BadInput
        Where axes or units are not known, or the place is more than a scale and a translation.
    """
    axis_metadata = metadata.get("axes", [{"name": n} for n in _V01_AXES])
    axes = [{"name": a} if isinstance(a, str) else dict(a) for a in axis_metadata]
    names = [CHANNEL if a.get("type") == "channel" else str(a["name"]).lower() for a in axes]
    if len(names) != len(shape) or not set(names) <= set("tczyx") or len(set(names)) != len(names):
        raise BadInput(path, "has axes that are not known", "use each of t, c, z, y and x once at most")
    if names[-2:] != ["y", "x"] and not {"y", "x"} <= set(names):
        raise BadInput(path, "holds no plane", "give an image with axes y and x")
    scale, translation = np.ones(len(names)), np.zeros(len(names))
    for transform in (
        *metadata["datasets"][0].get("coordinateTransformations", []),
        *metadata.get("coordinateTransformations", []),
    ):
        _apply_transform(path, transform, scale, translation)
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
    geometry = Geometry.from_matrix(matrix, tuple(units), labels)
    return AxisLayout("".join(names[kept[i]] for i in order), geometry, dropped_axes, tuple(order))


def _apply_transform(
    path: Path, transform: Mapping[str, Any], scale: NDArray[np.float64], translation: NDArray[np.float64]
) -> None:
    # Steps are parsed one by one, for yaozarrs' `Image` as a whole refuses what is found in the field and can
    # be read: axes as names alone or without a type (up to 0.3), channels last, no step at all, an identity,
    # a translation before the scale or without one, levels in another order, a channel without a window.
    from pydantic import ValidationError
    from yaozarrs import v05

    kind = transform.get("type")
    if kind == "identity":
        return
    if kind not in ("scale", "translation"):
        raise BadInput(path, "is placed in a way that is not read", "save it with a scale and a translation")
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
    if not (values > 0).all():
        raise BadInput(path, "has a spacing of zero or less", "repair its metadata")
    scale *= values
    translation *= values


def _axis_unit(path: Path, axis: Mapping[str, Any]) -> tuple[float, str]:
    known = as_known_unit(axis.get("unit") or "pixel")
    if known is None:
        raise BadInput(path, f"has an axis {axis['name']} in a unit that is not read", "use micrometers")
    return known


@dataclass(frozen=True)
class NgffMetadata:
    """The metadata to be written of an image in a geometry."""

    order: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    units: tuple[str, ...]

    def dataset_entry(self, name: str, factors: Sequence[int], is_mean: bool) -> v05.Dataset:
        """One level: by how much it is coarser, and whether its elements are means."""
        from yaozarrs import v05

        scale = [s * f for s, f in zip(self.scale, factors, strict=True)]
        # the centre of a mean of f elements lies (f - 1) / 2 elements farther in
        level_translation = [
            t + (s * (f - 1) / 2 if is_mean else 0.0)
            for s, t, f in zip(self.scale, self.translation, factors, strict=True)
        ]
        transforms: list[Any] = [v05.ScaleTransformation(scale=scale)]
        if any(level_translation):
            transforms.append(v05.TranslationTransformation(translation=level_translation))
        return v05.Dataset(path=name, coordinateTransformations=transforms)

    def group_metadata(self, datasets: list[v05.Dataset]) -> dict[str, Any]:
        """The attribute `ome` of the group, valid as 0.5."""
        from yaozarrs import v05

        kinds: dict[str, Any] = {"t": v05.TimeAxis, "c": v05.ChannelAxis}
        axes = [
            kinds.get(axis, v05.SpaceAxis)(name=axis, unit=unit or None)
            for axis, unit in zip(self.order, self.units, strict=True)
        ]
        image = v05.Image(multiscales=[v05.Multiscale(axes=axes, datasets=datasets)])
        return image.model_dump(exclude_none=True)


def ngff_metadata(path: Path, order: str, geometry: Geometry) -> NgffMetadata:
    """What OME-Zarr says of a geometry.

    Raises
    ------
    BadInput
        Where it cannot say it.
    """
    matrix = geometry.matrix
    if not geometry.is_axis_aligned or np.diag(matrix)[:-1].min() <= 0:
        raise BadInput(path, "an OME-Zarr cannot hold a turned or flipped geometry", "write NRRD instead")
    spatial = order.replace(CHANNEL, "")
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

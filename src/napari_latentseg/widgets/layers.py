"""Between napari's layers and ours: an image layer as a Scan, a Segmentation as three layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.scan import Geometry, Scan
from napari_latentseg.segmentation import ClassInfo, Segmentation

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["KEY", "ResultLayers", "role_of", "scan_from_layer", "spatial_arguments"]

KEY = "napari-latentseg"
"""Where our layers keep what they are, in their metadata; they are never found by their names."""

_UNITS = {"millimeter": "mm", "micrometer": "um", "nanometer": "nm", "meter": "m", "centimeter": "cm",
          "second": "s", "pixel": "pixel"}  # fmt: skip
_AXES = {2: "yx", 3: "zyx", 4: "tzyx"}


def role_of(layer: Layer) -> str:
    """What a layer of ours is (``"mask"``, ``"mean"``, ``"variance"``, ``"scan"``); empty for any other."""
    found = layer.metadata.get(KEY)
    return str(found.get("role", "")) if isinstance(found, dict) else ""


def layer_matrix(layer: Layer) -> NDArray[np.float64]:
    """The whole way from array index to world, `(n + 1, n + 1)`: the layer's own steps, then its affine."""
    own = Affine(scale=layer.scale, rotate=layer.rotate, shear=layer.shear, translate=layer.translate)
    return np.asarray(layer.affine.affine_matrix) @ own.affine_matrix


def scan_from_layer(layer: Image | Labels) -> Scan:
    """The scan that a layer shows, with its place; arrays are not copied, dask stays lazy.

    Raises
    ------
    BadInput
        Where the layer does not have two to four dimensions.
    """
    data, *coarser = list(layer.data) if layer.multiscale else [layer.data]
    if layer.ndim not in _AXES:
        raise BadInput(layer.name, f"has {layer.ndim} dimensions", "use an image with two to four")
    ours = layer.metadata.get(KEY, {}) if role_of(layer) else {}
    kept = ours if role_of(layer) == "scan" else {}
    axes = kept.get("axes", "").removesuffix("c") or _AXES[layer.ndim]
    units = tuple(_UNITS.get(str(unit), "pixel") for unit in layer.units)
    geometry = Geometry.from_matrix(layer_matrix(layer), units, tuple(axes), ours.get("frame", ""))
    return Scan(
        data,
        axes + ("c" if getattr(layer, "rgb", False) else ""),
        geometry,
        modality=kept.get("modality", ""),
        format=kept.get("format", "") or ("tiff" if geometry.is_axis_aligned else "nifti"),
        properties=kept.get("properties", {}),
        source=kept.get("source") or Path(layer.name),
        levels=tuple(coarser),
    )


def spatial_arguments(layer: Layer) -> dict[str, Any]:
    """Everything that puts a new layer where `layer` is; `add_labels` and `add_image` take over nothing."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


class ResultLayers:
    """The layers of one run: each is added once, then given new data.

    Parameters
    ----------
    viewer
        Where they are shown.
    image
        The layer that is segmented.
    classes
        Of the model.
    """

    def __init__(self, viewer: ViewerModel, image: Image, classes: tuple[ClassInfo, ...]) -> None:
        self.viewer = viewer
        self.image = image
        self.classes = classes
        self.edited = False
        self.mask: Labels | None = None
        self.means: dict[str, Image] = {}
        self.variances: dict[str, Image] = {}
        self._number = 1 + sum(
            role_of(other) == "mask" and other.metadata[KEY].get("image") == str(image.unique_id)
            for other in viewer.layers
        )

    def of(self, role: str) -> list[Layer]:
        """Those of ``"mask"``, ``"mean"`` or ``"variance"`` that the viewer still has, class by class."""
        made: dict[str, list[Layer]] = {
            "mask": [self.mask] if self.mask is not None else [],
            "mean": list(self.means.values()),
            "variance": list(self.variances.values()),
        }
        return [layer for layer in made[role] if layer in self.viewer.layers]

    def _name(self, role: str, of_class: str = "") -> str:
        number = f" {self._number}" if self._number > 1 else ""
        return f"{self.image.name} {role}" + (f", {of_class}" if of_class else "") + number

    def _metadata(self, role: str, record: dict[str, Any] | None = None) -> dict[str, Any]:
        about = {"role": role, "image": str(self.image.unique_id), "run": self._number, "record": record}
        about["frame"] = (self.image.metadata.get(KEY) or {}).get("frame", "")
        return {KEY: about}

    def show_plane(self, index: tuple[int, ...], mask: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
        """Show what is known of one plane of the mask, while the run goes on."""
        if self.mask is None or self.mask not in self.viewer.layers:
            data = np.zeros(shape, dtype=np.uint8)
            data[index] = mask
            self._add_mask(data)
            return
        if self.edited:
            return
        self.mask.data[index] = mask
        self.mask.refresh()

    def _add_mask(self, data: NDArray[np.uint8]) -> None:
        colours: dict[int | None, Any] = {c.label: c.color for c in self.classes}
        colours |= {0: (0.0, 0.0, 0.0, 0.0), None: (1.0, 1.0, 1.0, 1.0)}
        self.mask = Labels(
            data,
            name=self._name("mask"),
            opacity=0.5,
            colormap=DirectLabelColormap(color_dict=colours),
            # napari tells the name of the label under the pointer
            features={
                "index": [0, *(c.label for c in self.classes)],
                "class": ["", *(c.name for c in self.classes)],
            },
            metadata=self._metadata("mask"),
            **spatial_arguments(self.image),
        )
        self.mask.selected_label = self.classes[0].label
        self.mask.editable = False  # until the run has ended: strokes would be painted over
        self.mask.events.labels_update.connect(self._on_paint)  # strokes, fills, undo; not whole new data
        for other in self.viewer.layers:  # earlier results stay, but do not lie under this one
            if role_of(other) and other.metadata[KEY].get("image") == str(self.image.unique_id):
                other.visible = False
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(self.mask)
        self.viewer.layers.selection.active = active

    def _on_paint(self, event: Any = None) -> None:
        self.edited = True

    def set_mask(self, mask: NDArray[np.uint8]) -> None:
        """Replace the mask's data, unless someone has painted in it."""
        if self.edited:
            return
        if self.mask is None or self.mask not in self.viewer.layers:
            self._add_mask(mask)
        else:
            assert self.mask is not None
            self.mask.data = mask

    def finishing(self, found: Segmentation) -> Iterator[None]:
        """Show the whole result, one layer at each step, so that the window can draw between them.

        The mean and the variance are hidden at first; there is no variance layer where there is no variance.
        """
        record = found.record.model_dump(mode="json")
        self.set_mask(np.asarray(found.mask))  # what lies on disk could not be painted in
        assert self.mask is not None
        self.mask.metadata = self._metadata("mask", record)
        self.mask.editable = True
        yield
        for info, planes in zip(self.classes, found.mean, strict=True):
            self._show(
                self.means, "mean", info, planes, colormap="viridis", blending="translucent",
                contrast_limits=(0, 1), visible=False, record=record,
            )  # fmt: skip
            yield
        if found.variance is None:
            return
        # one range for all classes, so that they can be compared
        top = max(float(np.percentile(np.asarray(planes[..., ::4, ::4]), 99.5)) for planes in found.variance)
        for info, planes in zip(self.classes, found.variance, strict=True):
            layer = self._show(
                self.variances, "variance", info, planes, colormap="inferno", blending="additive",
                contrast_limits=(0, min(0.25, max(top, 0.001))), visible=False, record=record,
            )  # fmt: skip
            layer.contrast_limits_range = (0, 0.25)
            yield

    def _show(
        self,
        made: dict[str, Image],
        role: str,
        info: ClassInfo,
        data: NDArray[np.float32],
        *,
        record: dict[str, Any],
        **look: Any,
    ) -> Image:
        metadata = self._metadata(role, record)
        metadata[KEY]["class"] = info.name
        layer = made.get(info.name)
        if layer is not None and layer in self.viewer.layers:
            layer.data = data
            layer.metadata = metadata
            return layer
        name = self._name(role, info.name if len(self.classes) > 1 else "")
        layer = Image(data, name=name, metadata=metadata, rgb=False, **look, **spatial_arguments(self.image))
        made[info.name] = layer
        active = self.viewer.layers.selection.active
        # under the mask, over the image
        layers = self.viewer.layers
        layers.insert(layers.index(self.mask) if self.mask in layers else len(layers), layer)
        self.viewer.layers.selection.active = active
        return layer

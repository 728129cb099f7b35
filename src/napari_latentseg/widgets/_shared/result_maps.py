"""The maps of a result (agreement, mean, variance, doubt), one layer each, which show one class at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from psygnal import Signal

from napari_latentseg.core.agreement import agreement_counts
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.doubt import doubt_of
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.widgets._shared.layers import METADATA_KEY, spatial_arguments
from napari_latentseg.widgets._shared.map_style import MAP_ROLES, map_style
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["ResultMaps"]

# The doubt of larger arrays is computed slice by slice as it is drawn: of this one it takes 10 ms.
_MAX_DOUBT_VOXELS = 2**22


class ResultMaps:
    """The maps of one run; each layer is added once, then given the data of another class or result.

    Parameters
    ----------
    image
        The layer of the image.
    classes
        The classes of the model.
    layer_arguments
        Name and metadata of the layer with some role.

    Attributes
    ----------
    segmentation
        The result that is shown; None before the first.
    agreement
        `napari_latentseg.core.agreement.agreement_counts` of it; None where there is none, or while it is
        computed for a new threshold.
    shown_class
        Position of the class whose maps are shown.

    Signals
    -------
    shown_class_changed
        Position of the class.
    agreement_changed
        The agreement was computed anew.
    """

    shown_class_changed = Signal(int)
    agreement_changed = Signal()

    def __init__(
        self, image: Image, classes: tuple[ClassInfo, ...], layer_arguments: Callable[[str], dict[str, Any]]
    ) -> None:
        self._image = image
        self._classes = classes
        self._layer_arguments = layer_arguments
        self.layers: dict[str, Image] = {}
        self.segmentation: Segmentation | None = None
        self.agreement: NDArray[Any] | None = None
        self.shown_class = 0
        self._agreement_worker: ThreadWorker | None = None

    def show(
        self,
        viewer: ViewerModel,
        mask: Layer,
        segmentation: Segmentation,
        agreement: NDArray[Any] | None,
    ) -> Iterator[None]:
        """Add or update the layers below the mask, one at each step.

        Maps that the result has not are not added; new layers are hidden.
        """
        self.segmentation, self.agreement = segmentation, agreement
        layer_above = mask
        for role in reversed(MAP_ROLES):
            class_data = self._class_data(role)
            if class_data is None:
                continue
            arguments = self._layer_arguments(role)
            arguments["metadata"][METADATA_KEY]["class"] = self._classes[self.shown_class].name
            layer = self.layers.get(role)
            if layer is not None and layer in viewer.layers:
                layer.data = class_data
                layer.metadata = arguments["metadata"]
                if role == "agreement":  # its scale is the number of samples
                    style = map_style(role, segmentation.record.samples)
                    layer.colormap, layer.contrast_limits = style["colormap"], style["contrast_limits"]
            else:
                layer = Image(
                    class_data,
                    rgb=False,
                    visible=False,
                    **arguments,
                    **map_style(role, segmentation.record.samples),
                    **spatial_arguments(self._image),
                )
                self.layers[role] = layer
                active = viewer.layers.selection.active
                layers = viewer.layers
                layers.insert(layers.index(layer_above) if layer_above in layers else len(layers), layer)
                layers.selection.active = active
            layer_above = layer
            yield

    def _class_data(self, role: str) -> Any:
        """The data of the shown class; None where the result has no such map."""
        segmentation = self.segmentation
        assert segmentation is not None
        if role == "doubt":
            return _doubt_layer_data(segmentation.mean[self.shown_class])
        maps: dict[str, Any] = {
            "agreement": self.agreement,
            "mean": segmentation.mean,
            "variance": segmentation.variance,
        }
        return None if maps[role] is None else maps[role][self.shown_class]

    def show_class(self, position: int) -> None:
        """Show the maps of another class.

        Parameters
        ----------
        position
            Position in the classes of the model.
        """
        if position == self.shown_class or not 0 <= position < len(self._classes):
            return
        self.shown_class = position
        if self.segmentation is not None:
            for role in self.layers:
                self._update_data(role)
        self.shown_class_changed.emit(position)

    def _update_data(self, role: str) -> None:
        layer, class_data = self.layers[role], self._class_data(role)
        if class_data is not None:
            layer.data = class_data
            layer.metadata = {
                **layer.metadata,
                METADATA_KEY: {
                    **layer.metadata[METADATA_KEY],
                    "class": self._classes[self.shown_class].name,
                },
            }

    def follow_samples(self, segmentation: Segmentation) -> None:
        """Take over a result with another threshold or weights; its agreement is computed in a worker."""
        self.segmentation = segmentation
        if "agreement" not in self.layers:
            return
        self.agreement = None
        if self._agreement_worker is not None:  # it starts again when it has finished
            return

        def show(counts: NDArray[Any] | None) -> None:
            self._agreement_worker = None
            latest = self.segmentation
            if latest is not segmentation and latest is not None:
                self.follow_samples(latest)
                return
            self.agreement = counts
            if counts is not None:
                self._update_data("agreement")
            self.agreement_changed.emit()

        def fail(error: BaseException) -> None:
            self._agreement_worker = None

        self._agreement_worker = run_in_thread(lambda: agreement_counts(segmentation), show, fail)


def _doubt_layer_data(mean: Any) -> Any:
    """The doubt of one class for a layer; of a large array lazily, one slice at a time."""
    if not isinstance(mean, np.ndarray) or mean.size <= _MAX_DOUBT_VOXELS:
        return doubt_of(mean)
    import dask.array as da

    planes = (*(1 for _ in mean.shape[:-2]), *mean.shape[-2:])
    return doubt_of(da.from_array(mean, chunks=planes, name=False))  # a name would be a hash of all values

"""A Segmentation as layers: mask, means and variances, each added once and then given new data."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_latentseg.classes import ClassInfo
from napari_latentseg.cut import mask_from
from napari_latentseg.segmentation import Segmentation
from napari_latentseg.widgets.class_look import class_look
from napari_latentseg.widgets.layers import KEY, place_on_screen, role_of, spatial_arguments

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["ResultLayers", "Shown", "View"]

Places = tuple[NDArray[np.intp], ...]

_UNDO_AT_MOST = 400_000  # elements; more would hold the window while napari notes them
_PREVIEW_AT_MOST = 8_000_000


@dataclass(frozen=True)
class View:
    """How the planes of a run lie in its image.

    Attributes
    ----------
    plane
        One of `napari_latentseg.views.PLANES`.
    order
        Axis i of the planes was axis ``order[i]`` of the image; as it is where empty.
    box
        Rows and columns that are worked on; all where None.
    """

    plane: str = "acquired"
    order: tuple[int, ...] = ()
    box: tuple[slice, slice] | None = None

    def part(self, data: NDArray[np.uint8], index: tuple[int, ...]) -> NDArray[np.uint8]:
        """The part of a mask that one plane of the run is written to, as a view of it."""
        turned = data.transpose(self.order) if self.order else data
        place: tuple[int | slice, ...] = (*index, *(self.box or (slice(None), slice(None))))
        found: NDArray[np.uint8] = turned[place]
        return found


@dataclass(frozen=True)
class Shown:
    """What showing a result takes, computed where it holds no window.

    Attributes
    ----------
    mask
        A copy, which strokes may change.
    top
        Of the range in which variances are shown: one for all classes, so that they can be compared.
    """

    mask: NDArray[np.uint8]
    top: float

    @classmethod
    def of(cls, found: Segmentation) -> Shown:
        """Compute it."""
        variances: Any = [] if found.variance is None else found.variance
        tops = [float(np.percentile(np.asarray(one[..., ::4, ::4]), 99.5)) for one in variances]
        return cls(np.array(found.mask), min(0.25, max([*tops, 0.001])))


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

    Attributes
    ----------
    number
        Which run on this image it is, from 1.
    edited
        Whether a person has painted in the mask.
    """

    def __init__(self, viewer: ViewerModel, image: Image, classes: tuple[ClassInfo, ...]) -> None:
        self._viewer = weakref.ref(getattr(viewer, "__wrapped__", viewer))  # results must not keep it alive
        self.image = image
        self.classes = classes
        self.edited = False
        self.mask: Labels | None = None
        self.means: dict[str, Image] = {}
        self.variances: dict[str, Image] = {}
        self._is_ours = False
        self._before: list[tuple[Any, NDArray[np.uint8]]] = []
        self.number = 1 + sum(
            role_of(other) == "mask" and other.metadata[KEY].get("image") == str(image.unique_id)
            for other in viewer.layers
        )

    @property
    def viewer(self) -> ViewerModel:
        """Where they are shown."""
        found = self._viewer()
        assert found is not None  # its layers are gone with it
        return found

    def of(self, role: str) -> list[Layer]:
        """Those of ``"mask"``, ``"mean"`` or ``"variance"`` that the viewer still has, class by class."""
        made: dict[str, list[Layer]] = {
            "mask": [self.mask] if self.mask is not None else [],
            "mean": list(self.means.values()),
            "variance": list(self.variances.values()),
        }
        return [layer for layer in made[role] if layer in self.viewer.layers]

    def _name(self, role: str, of_class: str = "") -> str:
        number = f" {self.number}" if self.number > 1 else ""
        return f"{self.image.name} {role}" + (f", {of_class}" if of_class else "") + number

    def _metadata(self, role: str, record: dict[str, Any] | None = None) -> dict[str, Any]:
        about = {"role": role, "image": str(self.image.unique_id), "run": self.number, "record": record}
        about["frame"] = (self.image.metadata.get(KEY) or {}).get("frame", "")
        return {KEY: about}

    def show_part(self, index: tuple[int, ...], mask: NDArray[np.uint8], view: View) -> None:
        """Show what is known of one plane of the mask, while the run goes on."""
        if self.mask is None or self.mask not in self.viewer.layers:
            image = self.image.data[0] if self.image.multiscale else self.image.data
            data = np.zeros(image.shape[: self.image.ndim], dtype=np.uint8)
            view.part(data, index)[:] = mask
            self._add_mask(data)
            return
        if self.edited:
            return
        view.part(np.asarray(self.mask.data), index)[:] = mask
        self.mask.refresh()

    def _add_mask(self, data: NDArray[np.uint8]) -> None:
        self.mask = Labels(
            data,
            name=self._name("mask"),
            opacity=0.5,
            metadata=self._metadata("mask"),
            **class_look(self.classes),
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
        self.edited = self.edited or not self._is_ours

    @contextmanager
    def _by_us(self) -> Iterator[None]:
        self._is_ours = True
        try:
            yield
        finally:
            self._is_ours = False

    def preview_cut(self, found: Segmentation, threshold: float) -> None:
        """Show what is on screen of the mask at another cut, at once; `change_mask` brings the rest."""
        mask = self.mask
        if mask is None or mask not in self.viewer.layers or not isinstance(found.mean, np.ndarray):
            return
        place = place_on_screen(self.viewer, mask)
        shown = mask.data[place]
        if shown.ndim > 2 or shown.size > _PREVIEW_AT_MOST:
            return
        if not any(known == place for known, _ in self._before):
            self._before.append((place, shown.copy()))
        mask.data[place] = mask_from(found.mean[(slice(None), *place)], threshold, self.classes)
        mask.refresh()

    def difference(self, wanted: NDArray[np.uint8]) -> Places | None:
        """Where the mask differs from another, apart from what was only a preview; None where too much does.

        May be called in a worker.
        """
        if self.mask is None:
            return None
        differs = np.asarray(self.mask.data != wanted)
        for place, before in list(self._before):
            differs[place] = before != wanted[place]
        return tuple(np.nonzero(differs)) if np.count_nonzero(differs) <= _UNDO_AT_MOST else None

    def change_mask(self, wanted: NDArray[np.uint8], places: Places | None) -> None:
        """Bring the mask to another state in one step, which napari's undo takes back where it can.

        Parameters
        ----------
        wanted
            The new mask.
        places
            From `difference`.
        """
        mask, before = self.mask, self._before
        self._before = []
        if self.edited or mask is None or mask not in self.viewer.layers:
            return
        if places is None:
            mask.data = wanted
            return
        for place, shown in before:
            mask.data[place] = shown
        with self._by_us():
            if len(places[0]):
                mask.data_setitem(places, wanted[places])
        mask.refresh()

    def tell_record(self, found: Segmentation) -> None:
        """Keep in the mask's metadata how it was made."""
        if self.mask is not None:
            self.mask.metadata = self._metadata("mask", found.record.model_dump(mode="json"))

    def set_mask(self, mask: NDArray[np.uint8]) -> None:
        """Replace the mask's data, unless someone has painted in it."""
        if self.edited:
            return
        if self.mask is None or self.mask not in self.viewer.layers:
            self._add_mask(mask)
        else:
            assert self.mask is not None
            self.mask.data = mask

    def finishing(self, found: Segmentation, shown: Shown | None = None) -> Iterator[None]:
        """Show the whole result, one layer at each step, so that the window can draw between them.

        The mean and the variance are hidden at first; there is no variance layer where there is no variance.

        Parameters
        ----------
        found
            The result.
        shown
            What is computed for it beforehand; here where it is not given.
        """
        shown = shown or Shown.of(found)
        record = found.record.model_dump(mode="json")
        self.set_mask(shown.mask)
        assert self.mask is not None
        self.tell_record(found)
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
        for info, planes in zip(self.classes, found.variance, strict=True):
            layer = self._show(
                self.variances, "variance", info, planes, colormap="magenta", blending="additive",
                contrast_limits=(0, shown.top), visible=False, record=record,
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

"""Runs of the Segment widget with the models that come with the package."""

from __future__ import annotations

from typing import Any

from napari_latentseg.sample_data import ultrasound_phantom
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets.segment.samples import layer_data_of


def add_phantom(viewer: Any, widget: Any) -> Any:
    """The ultrasound phantom as a turned and stretched layer, with the model that fits."""
    data, arguments, _ = layer_data_of(ultrasound_phantom())
    del arguments["scale"], arguments["translate"]
    layer = viewer.add_image(
        data, scale=(0.15, 0.2), translate=(3, -7), rotate=20, shear=[0.1],
        affine=[[1, 0.1, 2], [0, 1.2, 5], [0, 0, 1]], **arguments,
    )  # fmt: skip
    widget.form.model.value = "breast-ultrasound"
    return layer


def run(widget: Any, qtbot: Any, **fields: Any) -> None:
    """Set fields of the form, and segment."""
    for name, value in fields.items():
        getattr(widget.form, name).value = value
    widget.run_button.click()
    assert widget.busy
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)


def layers_by_role(viewer: Any) -> dict[str, Any]:
    """The layers of the run, by what they show."""
    return {role_of(layer): layer for layer in viewer.layers if role_of(layer) not in ("", "scan")}

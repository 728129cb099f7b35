"""Two images in a viewer, each with finished results, without a model having been run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from tests.helpers.shared_viewer import process_events
from tests.helpers.shown import samples_of_a_ball, segmentation_of

from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import find_model
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets._shared.runner import RunJob
from napari_latentseg.widgets._shared.session import RunResult, session_of

SHAPE = (8, 60, 70)


def add_case(viewer: Any, name: str, seed: int = 0) -> Any:
    """Add an image to the viewer."""
    image = np.random.default_rng(seed).random(SHAPE).astype("f4")
    return viewer.add_image(image, name=name, scale=(3, 0.5, 0.7), units=("mm",) * 3)


def add_result(viewer: Any, image: Any, model: str = "breast-ultrasound") -> RunResult:
    """Add a finished result of an image, as a run does at its end."""
    session = session_of(viewer)
    card = read_card(find_model(model))
    scan = scan_from_layer(image)
    segmentation = segmentation_of(samples_of_a_ball(SHAPE), scan.geometry, card)
    job = RunJob(scan, card.name, InferenceSettings.for_model(card))
    result = RunResult(ResultLayers(viewer, image, segmentation.classes), job, card)
    result.segmentation = segmentation
    session._layer_steps = result.layers.show_all(segmentation)
    session._show_next(result)
    while session.busy:
        process_events()
    return result


def two_cases(viewer: Any) -> SimpleNamespace:
    """`first` and `second`, images of one grid, and a result of each; the second is the case."""
    session = session_of(viewer)
    first = add_case(viewer, "benign_105", 1)
    first_result = add_result(viewer, first)
    second = add_case(viewer, "malignant_10", 2)
    second_result = add_result(viewer, second)
    process_events()
    return SimpleNamespace(
        viewer=viewer, session=session, first=first, second=second,
        first_result=first_result, second_result=second_result,
    )  # fmt: skip


def click_layer(viewer: Any, layer: Any) -> None:
    """Click the row of a layer in napari's list."""
    view, rect = _row(viewer, layer)
    QTest.mouseClick(
        view.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(rect.left() + 90, rect.center().y())
    )
    process_events()


def click_eye(viewer: Any, layer: Any) -> None:
    """Click the eye of a layer in napari's list."""
    from qtpy.QtWidgets import QStyle, QStyleOptionViewItem

    view, rect = _row(viewer, layer)
    option = QStyleOptionViewItem()
    option.rect = rect
    option.features |= QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
    eye = view.style().subElementRect(QStyle.SubElement.SE_ItemViewItemCheckIndicator, option, view)
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=eye.center())
    process_events()


def _row(viewer: Any, layer: Any) -> tuple[Any, Any]:
    view = viewer.window._qt_viewer.layers
    model = view.model()
    for row in range(model.rowCount()):
        index = model.index(row, 0)
        if model.sourceModel().getItem(model.mapToSource(index)) is layer:
            view.scrollTo(index)
            process_events()
            return view, view.visualRect(index)
    raise AssertionError(f"{layer.name} is not in the list")

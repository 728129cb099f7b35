"""The whole loop in one window, twice: segment, correct, approve, teach, compare, adopt, segment, go back."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.models.versions import list_versions
from napari_latentseg.widgets._shared.layers import METADATA_KEY
from napari_latentseg.widgets.annotate.widget import AnnotateWidget
from napari_latentseg.widgets.models.widget import ModelsWidget
from napari_latentseg.widgets.segment.widget import SegmentWidget
from napari_latentseg.widgets.train.widget import TrainWidget

MODEL = "tiny-taught"


class Window:
    """A viewer with our widgets, and what a person does in them."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        self.segment, self.annotate = SegmentWidget(viewer), AnnotateWidget(viewer)
        self.train, self.models = TrainWidget(viewer), ModelsWidget(viewer)
        for name in ("segment", "annotate", "train", "models"):
            viewer.window.add_dock_widget(
                getattr(self, name), name=name.capitalize(), area="right", tabify=True
            )
        self.segment.form.samples.value = 2

    def wait(self, condition, seconds=120):
        self.qtbot.waitUntil(condition, timeout=1000 * seconds)

    def run(self, image):
        self.segment.form.image.value = image
        self.segment.form.model.value = MODEL
        self.segment.form.samples.value = 2
        self.segment.run_button.click()
        self.wait(lambda: not self.segment.busy)
        return self.segment.session.current

    def correct_and_approve(self, result, truth):
        """Strokes with the brush until the mask is the truth, as a patient person would."""
        self.annotate.edit()
        layer = self.viewer.layers.selection.active
        layer.brush_size = 1
        wrong = np.argwhere(layer.data != truth)
        for row, column in wrong:
            layer.paint((row, column), int(truth[row, column]), refresh=False)
        layer.refresh()
        np.testing.assert_array_equal(layer.data, truth)
        self.annotate.approve_button.click()
        self.wait(lambda: self.annotate.corrections.approvals.writes_in_progress == 0)

    def teach(self):
        self.train.form.model.setCurrentIndex(self.train.form.model.findData(MODEL))
        self.train._on_model()
        self.train.form.device.setCurrentIndex(self.train.form.device.findData("cpu"))
        self.train.form.minutes.setValue(0.05)
        self.wait(self.train.train_button.isEnabled)
        self.train.train_button.click()
        assert self.train.training.busy
        self.wait(lambda: not self.train.training.busy, 300)
        assert self.train.training.state == "done", self.train.training.error + self.train.training.details

    def adopt(self):
        self.train.comparison.use_button.click()
        self.wait(lambda: self.train.training.state == "idle")

    def go_back(self):
        self.wait(lambda: self.models._running_jobs == 0)
        for row in range(self.models.tree.topLevelItemCount()):
            item = self.models.tree.topLevelItem(row)
            if item.toolTip(0) == MODEL:
                self.models.tree.setCurrentItem(item)
        self.wait(self.models.revert_button.isEnabled)
        self.models.revert_button.click()
        self.wait(lambda: self.models._running_jobs == 0)


def scan_and_truth(number):
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:32, :40]
    truth = (((rows - 16) / 8) ** 2 + ((columns - 14 - 4 * number) / 7) ** 2 < 1).astype(np.uint8)
    return (60 + 120 * truth + rng.normal(0, 12, truth.shape)).clip(0, 255).astype(np.uint8), truth


def version_of(result):
    return result.layers.mask.metadata[METADATA_KEY]["record"]["model"]["version"]


@pytest.mark.timeout(900)
def test_the_whole_loop_twice(make_napari_viewer, own_home, qtbot):
    window = Window(make_napari_viewer(show=True), qtbot)
    for turn in range(2):
        for number in (2 * turn, 2 * turn + 1):
            data, truth = scan_and_truth(number)
            image = window.viewer.add_image(data, name=f"scan {number}", translate=(0, 50 * number))
            result = window.run(image)
            assert version_of(result) == "1"
            window.correct_and_approve(result, truth)
        assert AnnotationStore.for_model(MODEL).count_approved() == (2 * turn + 2, 2 * turn + 2)
        window.teach()
        comparison = window.train.training.judged.comparison
        assert comparison.held_out.cases >= 1
        assert window.train.comparison.verdict.text() == comparison.line
        version = str(turn + 2)
        assert window.train.comparison.use_button.text() == f"Use v{version}"
        window.adopt()
        assert [v.version for v in list_versions(MODEL) if v.is_current] == [version]
        again = window.run(image)
        assert version_of(again) == version
        assert window.segment.form.model.value == MODEL
        window.go_back()
        assert [v.version for v in list_versions(MODEL) if v.is_current] == ["1"]
        assert version_of(window.run(image)) == "1"
    assert [v.version for v in list_versions(MODEL)] == ["1", "2", "3"]

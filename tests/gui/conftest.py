"""A finished result in a viewer, without a model having been run: a volume of which the samples differ."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from napari.settings import get_settings
from tests.helpers.shared_viewer import Callbacks, empty, open_viewer, widgets_left

from napari_latentseg.cut import mask_from
from napari_latentseg.inference.request import Request
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import find_model
from napari_latentseg.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.sample_maps import SampleMaps
from napari_latentseg.scan import Geometry
from napari_latentseg.segmentation import Segmentation
from napari_latentseg.widgets.layers import scan_from_layer
from napari_latentseg.widgets.result_layers import ResultLayers
from napari_latentseg.widgets.runner import Job
from napari_latentseg.widgets.session import Result, session_of


class Gaps:
    """A timer that would fire every 2 ms; what it cannot is how long the main thread was held."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.found: list[float] = []
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.found.append(now - self._last)
        self._last = now

    def __enter__(self) -> Gaps:
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()

    @property
    def worst(self) -> float:
        """Seconds of the longest hold."""
        return max(self.found)


@pytest.fixture
def gaps() -> type[Gaps]:
    """Measures how long the main thread is held: ``with gaps() as found: ...``."""
    return Gaps


UNSURE = 5
"""The slice of which the samples differ most."""


def samples_of_a_ball(shape: tuple[int, int, int]) -> np.ndarray:
    """Five samples `(5, 1, *shape)` of a ball, whose size differs most on one slice."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    found = np.zeros((5, 1, *shape), dtype=np.float32)
    for i in range(5):
        radius = np.where(z == UNSURE, 8 + 3 * i, 12 + 0.3 * i)
        away = np.sqrt((y - 25) ** 2 + (x - 30) ** 2 + (1.5 * (z - 6)) ** 2)
        found[i, 0] = 1 / (1 + np.exp(np.clip(3 * (away - radius), -30, 30)))
    return np.round(found * 255) / np.float32(255)


def segmentation_of(samples: np.ndarray, geometry: Geometry, card) -> Segmentation:
    """The segmentation that a run would have given."""
    n, k, *shape = samples.shape
    classes = card.classes
    maps = SampleMaps(k, shape[0], tuple(shape[1:]), 2**30)
    for sample in samples:
        for number in range(shape[0]):
            maps.add(number, sample[:, number])
    mean = samples.mean(axis=0)
    size, unit = geometry.element_size
    volumes = (samples > 0.5).reshape(n, k, -1).sum(axis=2) * size
    record = RunRecord(
        plugin_version="0", time="", classes=classes, samples_asked=n, samples=n, planes_done=shape[0],
        planes=shape[0], source="augment", source_settings={}, seed=0, threshold=0.5, device="cpu",
        precision="float32", tile=None, overlap=0, working_size=tuple(shape[1:]), seconds=1, complete=True,
        volumes={c.name: list(volumes[:, i]) for i, c in enumerate(classes)}, volume_unit=unit, versions={},
        input=InputRecord(sha256="0" * 64, format="", axes="zyx", shape=tuple(shape), dtype="float32",
                          spacing=geometry.spacing, units=geometry.units),
        model=ModelRecord(name=card.name, version="1", method="gms", variant="", codec="", sha256={}),
    )  # fmt: skip
    return Segmentation(
        mask=mask_from(mean, 0.5, classes), mean=mean, variance=samples.var(axis=0), volumes=volumes,
        axes="zyx", geometry=geometry, format="nifti", properties={}, classes=classes, record=record,
        maps=maps,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shared_viewer(qapp):
    """One viewer for a module; tests ask for `viewer`, which is this one, empty."""
    with open_viewer() as shared:
        yield shared


@pytest.fixture
def viewer(shared_viewer):
    """A viewer that is shown and empty; afterwards nothing of the test may be left in it, or run on."""
    settings = get_settings()
    settings.reset()
    empty(shared_viewer)
    callbacks = Callbacks(shared_viewer)
    yield shared_viewer
    empty(shared_viewer)
    callbacks.restore()
    settings.reset()
    left = widgets_left()
    assert not left, f"widgets that outlive the test: {left}"


@pytest.fixture
def show_ball(viewer):
    """Shows a volume of some shape with a finished result of it: `viewer`, `session`, `result`, `image`."""

    def show(shape: tuple[int, int, int]) -> SimpleNamespace:
        image = viewer.add_image(
            np.random.default_rng(0).random(shape).astype("f4"), name="scan", scale=(3, 0.5, 0.7),
            translate=(10, -4, 2), units=("mm",) * 3, axis_labels=("z", "y", "x"),
        )  # fmt: skip
        session = session_of(viewer)
        card = read_card(find_model("breast-ultrasound"))
        scan = scan_from_layer(image)
        found = segmentation_of(samples_of_a_ball(shape), scan.geometry, card)
        job = Job(scan, card.name, Request.of(card))
        result = Result(ResultLayers(viewer, image, found.classes), job, card)
        for _ in result.layers.finishing(found):
            pass
        result.found = found
        session.results.append(result)
        session.current = result
        session.listed.emit()
        return SimpleNamespace(viewer=viewer, session=session, result=result, image=image)

    return show


@pytest.fixture
def shown_volume(show_ball):
    """See `show_ball`; a small one."""
    return show_ball((12, 60, 70))

"""From a scan to a segmentation, with tiny real models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.predicted import TURNED, picture, predicted, same, scan_of

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.record import RunRecord
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bfloat16_check import Bfloat16Check
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import list_cards, load_model

IN_TIME = Geometry.from_matrix(
    np.diag([2.0, 3, -0.5, 0.25, 1]), ("s", "mm", "mm", "mm"), ("t", "z", "y", "x"), "LPS"
)
SCANS = {
    "grey": lambda: scan_of(picture(37, 53)),
    "one pixel": lambda: scan_of(picture(1, 1)),
    "a strip": lambda: scan_of(picture(8, 2000)),
    "a standing strip": lambda: scan_of(picture(300, 2)),
    "colour": lambda: scan_of(picture(37, 53, 3)),
    "colour with alpha": lambda: scan_of(picture(37, 53, 4)),
    "16 bits": lambda: scan_of(picture(40, 30).astype(np.uint16) * 256),
    "floats": lambda: scan_of(picture(40, 30).astype(np.float64) * 1e6 - 3e7),
    "floats in [0, 1]": lambda: scan_of(picture(40, 30).astype(np.float32) / 255),
    "negative": lambda: scan_of(picture(40, 30).astype(np.int16) * 16 - 1024),
    "truth values": lambda: scan_of(picture(40, 30) > 128),
    "constant": lambda: scan_of(np.full((40, 30), 77.0)),
    "gaps": lambda: scan_of(np.where(picture(40, 30) > 180, np.nan, picture(40, 30).astype(float))),
    "a turned volume": lambda: scan_of(picture(3, 20, 24).astype(np.int16), "zyx", TURNED, format="nifti"),
    "a volume in time": lambda: scan_of(picture(2, 2, 20, 24), "tzyx", IN_TIME),
}


@pytest.mark.parametrize("name", SCANS)
def test_every_kind_of_scan_is_segmented_in_its_own_place(model: Model, name: str) -> None:
    scan = SCANS[name]()
    found = predicted(model, scan, samples=3)
    assert found.mask.shape == scan.spatial_shape
    assert found.mask.dtype == np.uint8
    assert found.mean.shape == found.variance.shape == (1, *scan.spatial_shape)
    assert found.mean.dtype == found.variance.dtype == np.float32
    assert np.isfinite(found.mean).all()
    assert found.mean.min() >= 0
    assert found.mean.max() <= 1
    assert found.variance.min() >= 0
    assert found.variance.max() <= 0.25
    assert np.array_equal(found.mask, (found.mean[0] > 0.5).astype(np.uint8))
    assert found.geometry == scan.geometry
    assert found.axes == scan.spatial_axes
    assert found.record.complete
    assert found.record.samples == found.record.samples_asked == 3
    assert found.record.planes == found.record.planes_done == int(np.prod(scan.spatial_shape[:-2], dtype=int))
    assert any("not finite" in note for note in found.record.input.notes) == (name == "gaps")


def test_samples_do_differ(model: Model) -> None:
    """Were they equal, most of what is tested here would pass without saying anything."""
    found = predicted(model, scan_of(picture(90, 70)), samples=4)
    assert found.variance.max() > 1e-3
    assert len({float(v) for v in found.volumes[:, 0]}) > 1
    assert 0.1 < found.mask.mean() < 0.9


def test_volumes_are_in_the_unit_of_the_scan(tiny_model: Model) -> None:
    plane = picture(40, 30)
    plain = predicted(tiny_model, scan_of(plane), samples=3)
    spaced = predicted(
        tiny_model, scan_of(plane, geometry=Geometry.from_spacing("yx", (0.5, 0.2), "mm")), samples=3
    )
    np.testing.assert_allclose(spaced.volumes, plain.volumes * 0.1)
    assert (plain.record.volume_unit, spaced.record.volume_unit) == ("pixel", "mm2")
    assert spaced.record.volumes["target"] == pytest.approx(spaced.volumes[:, 0].tolist())


def test_alpha_says_nothing(tiny_model: Model) -> None:
    array = picture(30, 40, 4)
    with_alpha = predicted(tiny_model, scan_of(array), samples=1)
    assert np.array_equal(with_alpha.mean, predicted(tiny_model, scan_of(array[..., :3]), samples=1).mean)


@pytest.mark.parametrize("array", [np.full((4, 4), np.nan), np.full((3, 4, 4), np.inf)])
def test_a_scan_without_a_finite_value_is_refused(tiny_model: Model, array: np.ndarray) -> None:
    with pytest.raises(BadInput, match="holds no finite value"):
        predicted(tiny_model, scan_of(array, "zyx"[-array.ndim :]))


# -- the record


def test_the_record_says_all_but_where_the_file_lay(tiny_tiles_model: Model, tmp_path: Path) -> None:
    path = tmp_path / "Jane Doe 1970.nii.gz"
    scan = scan_of(
        picture(2, 30, 40).astype(np.int16), "zyx", TURNED, modality="MR", format="nifti", source=path
    )
    found = predicted(tiny_tiles_model, scan, samples=3, seed=9, threshold=0.4)
    text = found.record.model_dump_json()
    record = RunRecord.model_validate_json(text)
    assert record == found.record
    for name in ("Jane", "Doe", "1970.nii", str(tmp_path), tmp_path.name, str(tiny_tiles_model.folder)):
        assert name not in text
    assert (record.seed, record.threshold, record.source) == (9, 0.4, "augment")
    assert (record.device, record.precision) == ("cpu", "float32")
    assert (record.tile, record.overlap, record.working_size) == ((64, 64), 16, (120, 160))
    assert (record.input.axes, record.input.shape, record.input.dtype) == ("zyx", (2, 30, 40), "int16")
    assert record.input.spacing == pytest.approx(TURNED.spacing)
    assert record.model.sha256["weights.safetensors"] == tiny_tiles_model.card.files["weights.safetensors"]
    assert record.model.sha256["codec"] == tiny_tiles_model.card.codec.sha256
    assert set(record.source_settings) >= {"horizontal_flip", "brightness", "shift"}
    assert record.seconds > 0
    assert record.versions["torch"].startswith("2.")


def test_the_hash_is_that_of_the_values_and_not_of_the_file(tiny_model: Model) -> None:
    array = picture(20, 20)

    def digest(a: np.ndarray, **more: object) -> str:
        return predicted(tiny_model, scan_of(a, **more), samples=1).record.input.sha256

    assert digest(array) == digest(array.copy(), source=Path("other.png"))
    assert digest(array) == digest(np.asfortranarray(array))
    changed = array.copy()
    changed[3, 3] ^= 1
    assert len({digest(array), digest(changed), digest(array.astype(np.uint16))}) == 3


def test_a_lazy_volume_is_taken_plane_by_plane(tiny_model: Model) -> None:
    dask = pytest.importorskip("dask.array")
    array = picture(4, 20, 24).astype(np.float32)
    lazy = dask.from_array(array, chunks=(1, 20, 24))
    taken = predicted(tiny_model, scan_of(lazy, "zyx", TURNED), samples=3)
    eager = predicted(tiny_model, scan_of(array, "zyx", TURNED), samples=3)
    assert same(taken, eager)
    assert taken.record.input.sha256 == eager.record.input.sha256


# -- arithmetic and device


def test_bfloat16_agrees_with_float32(model: Model) -> None:
    """With random weights: on average to 0.005, and the masks but for two pixels in a hundred."""
    scan = scan_of(picture(90, 120))
    full, half = (predicted(model, scan, precision, samples=3) for precision in ("float32", "bfloat16"))
    assert half.record.precision == "bfloat16"
    away = np.abs(full.mean - half.mean)
    assert 0 < away.mean() < 5e-3
    assert np.mean(full.mask != half.mask) < 0.02


def test_auto_is_bfloat16_only_where_the_card_allows_it(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_latentseg.utils.device.has_native_bfloat16", lambda device: True)
    how: dict[str, Any] = {
        "images": 20,
        "samples": 5,
        "source": "augment",
        "device": "cpu",
        "engine": "torch",
    }
    check = Bfloat16Check(max_mask_change=0.0, mean_change=0.0, **how)
    changed = check.replace(max_mask_change=0.01)
    precisions = [
        Predictor(
            replace(tiny_model, card=tiny_model.card.replace(bfloat16=measured)), "cpu"
        ).compute.precision
        for measured in (None, check, changed)
    ]
    assert precisions == ["float32", "bfloat16", "float32"]


@pytest.mark.parametrize("name", ["breast-ultrasound", "retina-vessels"])
def test_bfloat16_agrees_with_float32_on_the_embedded_models(name: str) -> None:
    """On average to 0.003, and the masks to a Dice of 0.99."""
    if name not in list_cards():
        pytest.skip(f"the embedded model {name} is not in this checkout")
    from napari_latentseg.evaluation.metrics import dice
    from napari_latentseg.sample_data import retina, ultrasound_phantom

    scan, box = ultrasound_phantom().scan, None
    if name == "retina-vessels":
        scan, box = retina().scan, (400, 300, 912, 812)  # bfloat16 is slow on a CPU that has none
    model = load_model(name)
    full, half = (
        predicted(model, scan, precision, samples=1, box=box) for precision in ("float32", "bfloat16")
    )
    top, left, bottom, right = box or (0, 0, *scan.spatial_shape)
    away = np.abs(full.mean - half.mean)[..., top:bottom, left:right]
    assert 0 < away.mean() < 3e-3
    assert dice(full.mask > 0, half.mask > 0) > 0.99


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("tpu", "auto", "device: 'tpu' is not known"),
        ("cpu", "int8", "precision: 'int8' is not known"),
    ],
)
def test_a_device_that_no_machine_has_is_refused(
    tiny_model: Model, device: str, precision: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Predictor(tiny_model, device, precision)


def test_a_device_that_is_not_there_is_refused(tiny_model: Model) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(BadInput, match="device: no cuda on this machine; use one of cpu"):
        Predictor(tiny_model, "cuda")


def test_a_model_that_shares_its_codec_is_brought_back(
    tiny_model_folder: Path, tiny_tiles_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have one codec, which a predictor of the other may take to another device before the run."""
    model, other = load_model(tiny_model_folder), load_model(tiny_tiles_folder)
    codec = model.method.codec
    assert codec is other.method.codec
    predictor = Predictor(model, "cpu", "float32")
    run = predictor.start(scan_of(picture(16, 16)), InferenceSettings.for_model(model.card, samples=1))
    moved = []
    apply = codec._apply

    def seen(*given: object, **more: object) -> object:
        moved.append(True)
        return apply(*given, **more)

    elsewhere = torch.empty(1, device="meta")
    with monkeypatch.context() as patch:
        patch.setattr(codec, "_apply", seen)
        next(iter(run))
        assert not moved, "where all is in place, nothing is gone through"
        patch.setattr(model.method, "parameters", lambda: iter([elsewhere]))
        list(run)
    assert moved
    assert run.result().record.complete


def test_a_single_look_in_training_is_the_first_sample_of_a_run(model: Model) -> None:
    """The figures of a training come by `sample_plane`, those of the person by a run."""
    from napari_latentseg.inference.tile_inference import sample_plane
    from napari_latentseg.utils.device import Compute

    shape = model.card.preprocess.working_size(120, 160)
    array = picture(*shape, 3)
    plane = np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32) / 255
    found = sample_plane(model.method, plane, model.card.preprocess, Compute("cpu", "float32"))
    np.testing.assert_allclose(found, predicted(model, scan_of(array), samples=1).mean, atol=1e-5)


# -- some of the slices


def test_only_the_asked_slices_hold_a_result(tiny_model: Model) -> None:
    """They are what they are in a run of all, and the run is complete."""
    scan = scan_of(picture(6, 20, 24), "zyx", TURNED)
    whole = predicted(tiny_model, scan, samples=3)
    part = predicted(tiny_model, scan, samples=3, slices=(2, 3), first_plane=5)
    assert part.record.complete
    assert (part.record.slices, part.record.planes_done, part.record.planes) == ((2, 3), 2, 6)
    assert (part.record.segmented_slices, whole.record.segmented_slices) == (((2, 3),), None)
    assert part.segmented_region.missing(range(6)) == [0, 1, 4, 5]
    assert not part.segmented_region.is_cancelled
    np.testing.assert_allclose(part.mean[:, 2:4], whole.mean[:, 2:4], atol=1e-5)
    assert not part.mean[:, [0, 1, 4, 5]].any()
    assert not part.mask[[0, 1, 4, 5]].any()


@pytest.mark.parametrize(
    ("slices", "message"),
    [((4, 9), "slices: end at 10, but the scan has 6"), ((3, 2), "slices: "), ((-1, 2), "slices: ")],
)
def test_slices_that_are_not_there_are_refused(
    tiny_model: Model, slices: tuple[int, int], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        predicted(tiny_model, scan_of(picture(6, 20, 24), "zyx", TURNED), samples=1, slices=slices)

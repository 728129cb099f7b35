"""From a scan to a segmentation, with tiny real models."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.predicted import TURNED, picture, predicted, same, scan_of, started, stopped

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.record import RunRecord
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tiles import TileBlender
from napari_latentseg.methods.base import Noise
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import list_cards, load_model

IN_TIME = Geometry.from_matrix(
    np.diag([2.0, 3, -0.5, 0.25, 1]), ("s", "mm", "mm", "mm"), ("t", "z", "y", "x"), "LPS"
)


@pytest.fixture(params=["whole", "tiles"])
def model(request: pytest.FixtureRequest, tiny_model: Model, tiny_tiles_model: Model) -> Model:
    return tiny_model if request.param == "whole" else tiny_tiles_model


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


# -- the number of samples


@pytest.mark.parametrize(("samples", "has_variance"), [(1, False), (2, False), (3, True), (5, True)])
def test_fewer_than_three_samples_have_no_variance(
    tiny_model: Model, samples: int, has_variance: bool
) -> None:
    found = predicted(tiny_model, scan_of(picture(24, 24)), samples=samples)
    assert (found.variance is not None) == has_variance
    assert len(found.volumes) == samples


def test_without_a_source_there_is_one_answer_and_no_variance(model: Model) -> None:
    scan = scan_of(picture(50, 70))
    found = predicted(model, scan, source="none")
    assert found.variance is None
    assert found.record.samples == 1
    assert found.record.source_settings == {}
    assert np.array_equal(found.mean, predicted(model, scan, samples=1).mean)  # the first view is the image
    with pytest.raises(BadInput, match="ask for 1 sample, or choose a source"):
        InferenceSettings.for_model(model.card, source="none", samples=3)
    with pytest.raises(BadInput, match="same answer every time"):
        started(model, scan, source="none").extend(2)


def test_equal_samples_are_no_sign_of_certainty(make_tiny_model) -> None:
    """A model that was only ever mirrored has two views; five samples of them give no variance."""
    still = {"vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}
    found = predicted(
        load_model(make_tiny_model("tiny-mirrored", augment=still)), scan_of(picture(30, 30)), samples=5
    )
    assert found.variance is None
    assert "only 2 of the 5 samples differ" in found.record.input.notes[0]


def test_the_mean_is_that_of_the_samples(model: Model) -> None:
    scan = scan_of(picture(45, 60))
    run = started(model, scan, samples=5)
    seen = []
    before = np.zeros((1, 45, 60))
    for step in run:
        if step.is_sample_complete:
            n = step.sample + 1
            mean = run.state.ensemble.mean[0].astype(np.float64)
            seen.append(mean * n - before)
            before = mean * n
    found = run.result()
    np.testing.assert_allclose(found.mean, np.mean(seen, axis=0), atol=1e-5)
    np.testing.assert_allclose(found.variance, np.var(seen, axis=0), atol=1e-5)
    assert found.volumes[:, 0] == pytest.approx([np.count_nonzero(s > 0.5) for s in seen], abs=2)


# -- repeatable


def test_the_same_seed_gives_the_same_bits(model: Model) -> None:
    scan = scan_of(picture(50, 70))
    first = predicted(model, scan, samples=4, seed=11)
    assert same(first, predicted(model, scan, samples=4, seed=11))
    assert not np.array_equal(first.mean, predicted(model, scan, samples=4, seed=12).mean)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 3), (3, 2)])
def test_more_samples_are_a_longer_run_bit_for_bit(model: Model, n: int, k: int) -> None:
    scan = scan_of(picture(2, 40, 60), "zyx")
    run = started(model, scan, samples=n, seed=3)
    list(run)
    earlier = run.result()
    kept = (earlier.mean.copy(), earlier.mask.copy())
    run.extend(k)
    list(run)
    later, at_once = run.result(), predicted(model, scan, samples=n + k, seed=3)
    assert np.array_equal(later.mean, at_once.mean)
    assert np.array_equal(later.mask, at_once.mask)
    assert np.array_equal(later.volumes, at_once.volumes)
    assert (later.variance is None) == (at_once.variance is None)
    if later.variance is not None:
        assert np.array_equal(later.variance, at_once.variance)
    assert later.record.samples == later.record.samples_asked == n + k
    assert np.array_equal(earlier.mean, kept[0])  # what was handed out is not written over
    assert np.array_equal(earlier.mask, kept[1])


@pytest.mark.parametrize("samples", [0, -1, 1000])
def test_more_of_what_cannot_be_had_is_refused(tiny_model: Model, samples: int) -> None:
    with pytest.raises(BadInput, match="must be 1 or more, and 1000 at most in total"):
        started(tiny_model, scan_of(picture(8, 8)), samples=4).extend(samples)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_the_size_of_a_batch_changes_nothing_but_rounding(tiny_tiles_model: Model, at_once: int) -> None:
    scan = scan_of(picture(90, 130))
    four = predicted(tiny_tiles_model, scan, samples=3, tiles_at_once=4)
    other = predicted(tiny_tiles_model, scan, samples=3, tiles_at_once=at_once)
    np.testing.assert_allclose(other.mean, four.mean, atol=1e-5)
    np.testing.assert_allclose(other.variance, four.variance, atol=1e-5)


def test_the_first_plane_changes_the_order_alone(tiny_model: Model) -> None:
    scan = scan_of(picture(4, 20, 24), "zyx")
    run = started(tiny_model, scan, samples=3, first_plane=2)
    order = list(dict.fromkeys(step.plane for step in run if step.is_sample_complete))
    assert order == run.plane_order() == [2, 1, 3, 0]
    assert same(run.result(), predicted(tiny_model, scan, samples=3))
    assert started(tiny_model, scan, first_plane=99).plane_order() == [3, 2, 1, 0]


# -- stopping midway


def test_progress_moves_from_nothing_to_all(model: Model) -> None:
    steps = list(started(model, scan_of(picture(3, 40, 60), "zyx"), samples=3))
    done = [step.fraction for step in steps]
    assert done == sorted(done)
    assert 0 <= done[0] < 0.2
    assert done[-1] == 1
    assert sum(step.is_sample_complete for step in steps) == 9


def test_nothing_complete_is_no_result(tiny_tiles_model: Model) -> None:
    run = started(tiny_tiles_model, scan_of(picture(100, 120)), samples=3, tiles_at_once=1)
    assert run.result() is None
    for step in run:
        assert not step.is_sample_complete
        break
    assert run.result() is None


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_run_that_was_stopped_has_its_true_number(model: Model, n: int) -> None:
    scan = scan_of(picture(60, 80))
    run = started(model, scan, samples=5, seed=2)
    stopped(run, (0, n - 1))
    found = run.result()
    whole = predicted(model, scan, samples=n, seed=2)
    assert (found.record.samples, found.record.samples_asked, found.record.complete) == (n, 5, False)
    assert np.array_equal(found.mean, whole.mean)
    assert np.array_equal(found.volumes, whole.volumes)
    assert (found.variance is None) == (n < 3)
    list(run)  # and it can go on
    assert same(run.result(), predicted(model, scan, samples=5, seed=2))
    assert run.result().record.complete


@pytest.mark.parametrize(("at", "planes"), [((0, 1), [0]), ((1, 0), [0]), ((1, 3), [0]), ((2, 2), [0, 1])])
def test_of_a_stack_the_planes_that_are_done_are_shown(
    tiny_model: Model, at: tuple[int, int], planes: list[int]
) -> None:
    scan = scan_of(picture(4, 20, 24), "zyx")
    run = started(tiny_model, scan, samples=5)
    stopped(run, at)
    found = run.result()
    shown = [i for i in range(4) if found.mean[0, i].any()]
    assert shown == planes
    assert found.record.planes_done == len(planes)
    assert found.record.samples == (2 if at == (0, 1) else 5)
    assert not found.record.complete
    assert not found.mask[[i for i in range(4) if i not in planes]].any()
    assert len(found.volumes) == found.record.samples
    list(run)  # to have asked for a result does not disturb the run
    assert same(run.result(), predicted(tiny_model, scan, samples=5))


def test_further_samples_that_were_stopped_lose_no_plane(tiny_model: Model) -> None:
    scan = scan_of(picture(4, 20, 24), "zyx")
    run = started(tiny_model, scan, samples=3)
    list(run)
    run.extend(3)
    stopped(run, (1, 4))
    found = run.result()
    assert (found.record.samples, found.record.samples_asked) == (3, 6)
    assert (found.record.planes_done, found.record.complete) == (4, False)
    assert found.record.input.notes == ("2 planes have up to 6 samples",)
    assert np.array_equal(found.volumes, predicted(tiny_model, scan, samples=3).volumes)
    list(run)
    assert same(run.result(), predicted(tiny_model, scan, samples=6))


# -- memory


def test_memory_does_not_grow_with_the_samples(tiny_model: Model) -> None:
    scan = scan_of(picture(3, 160, 160), "zyx")

    def peak(samples: int) -> int:
        run = started(tiny_model, scan, samples=samples, keep_samples=False)
        tracemalloc.start()
        list(run)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)  # what is loaded on first use is loaded now
    few, many = peak(3), peak(15)
    assert many - few < scan.array.nbytes  # a quarter of a single plane of floats for each further sample


@pytest.mark.parametrize(
    ("part", "error", "source"),
    [
        ("encode", torch.OutOfMemoryError, "augment"),
        ("sample", torch.OutOfMemoryError, "augment"),
        ("encode", MemoryError, "none"),
        ("sample", RuntimeError, "none"),
    ],
)
def test_where_memory_runs_out_half_the_tiles_go_on(
    tiny_tiles_model: Model, monkeypatch: pytest.MonkeyPatch, part: str, error: type[Exception], source: str
) -> None:
    scan = scan_of(picture(110, 130))
    asked = {"source": source, "samples": 1 if source == "none" else 3, "tiles_at_once": 8}
    plain = predicted(tiny_tiles_model, scan, **asked)

    real = getattr(tiny_tiles_model.method, part)
    sizes: list[int] = []

    def short(batch: torch.Tensor, *more: object) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return real(batch, *more)

    monkeypatch.setattr(tiny_tiles_model.method, part, short)
    laid: Counter[tuple[TileBlender, tuple[int, int]]] = Counter()
    add = TileBlender.add_tile

    def counting(self: TileBlender, tile: torch.Tensor, corner: tuple[int, int]) -> None:
        laid[(self, corner)] += 1
        add(self, tile, corner)

    monkeypatch.setattr(TileBlender, "add_tile", counting)
    found = predicted(tiny_tiles_model, scan, **asked)
    np.testing.assert_allclose(found.mean, plain.mean, atol=1e-5)
    assert set(laid.values()) == {1}
    assert sizes[:3] == [8, 4, 2]
    assert max(sizes[2:]) == 2  # once is enough
    assert found.record.input.notes == (
        "memory ran out; continued with 4 tiles at once",
        "memory ran out; continued with 2 tiles at once",
    )


def test_noise_that_was_drawn_in_vain_is_drawn_again(
    tiny_tiles_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that runs out after the noise was drawn must not change the sample."""
    real = tiny_tiles_model.method.sample
    most = {"now": 100}

    def noisy(condition: torch.Tensor, noise: Noise) -> torch.Tensor:
        moved = condition + 0.1 * noise(tuple(condition.shape))
        if len(condition) > most["now"]:
            raise torch.OutOfMemoryError
        return real(moved)

    monkeypatch.setattr(tiny_tiles_model.method, "sample", noisy)
    monkeypatch.setattr(type(tiny_tiles_model.method), "sampling_sources", ("noise",))
    card = tiny_tiles_model.card.model_copy(update={"sources": ("noise", "none")})
    noise = Model(tiny_tiles_model.method, card, tiny_tiles_model.folder)
    scan = scan_of(picture(110, 130))
    plain = predicted(noise, scan, samples=3, tiles_at_once=2)
    most["now"] = 2
    found = predicted(noise, scan, samples=3, tiles_at_once=8)
    np.testing.assert_allclose(found.mean, plain.mean, atol=1e-5)


def test_other_faults_are_not_taken_for_memory(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("sizes of tensors must match")

    monkeypatch.setattr(tiny_model.method, "sample", broken)
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        predicted(tiny_model, scan_of(picture(8, 8)))


def test_memory_too_small_for_one_tile_is_said_plainly(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(tiny_model.method, "encode", never)
    with pytest.raises(BadInput, match="memory: is too small for a single tile"):
        predicted(tiny_model, scan_of(picture(8, 8)))


def test_an_image_is_encoded_once_where_all_samples_see_the_same(
    tiny_tiles_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a method with noise of its own sees it; here the noise is put in by hand."""
    calls = Counter[str]()
    encode, draw = tiny_tiles_model.method.encode, tiny_tiles_model.method.sample

    def counted(images: torch.Tensor) -> torch.Tensor:
        calls["tiles"] += len(images)
        return encode(images)

    def noisy(condition: torch.Tensor, noise: Noise) -> torch.Tensor:
        return draw(condition + 0.1 * noise(tuple(condition.shape)))

    monkeypatch.setattr(tiny_tiles_model.method, "encode", counted)
    monkeypatch.setattr(tiny_tiles_model.method, "sample", noisy)
    monkeypatch.setattr(type(tiny_tiles_model.method), "sampling_sources", ("noise",))
    card = tiny_tiles_model.card.model_copy(update={"sources": ("noise", "none")})
    noise = Model(tiny_tiles_model.method, card, tiny_tiles_model.folder)
    scan = scan_of(picture(90, 130))
    first = predicted(noise, scan, samples=4, seed=1)
    tiles = calls["tiles"]
    assert same(first, predicted(noise, scan, samples=4, seed=1))
    assert not np.array_equal(first.mean, predicted(noise, scan, samples=4, seed=2).mean)
    assert calls["tiles"] == 3 * tiles
    predicted(noise, scan, samples=1)
    assert calls["tiles"] == 4 * tiles  # four samples or one: the same number of tiles was encoded
    assert first.variance.max() > 0


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
    tiny_model_folder: Path, tiny_tiles_folder: Path
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

    codec._apply = seen
    try:
        list(run)
    finally:
        del codec._apply
    assert moved
    assert run.result().record.complete


def test_a_single_look_in_training_is_the_first_sample_of_a_run(model: Model) -> None:
    """The figures of a training come by `sample_plane`, those of the person by a run."""
    from napari_latentseg.inference.tile_inference import sample_plane
    from napari_latentseg.utils.device import Compute

    shape = model.card.preprocess.working_size(120, 160)
    array = picture(*shape, 3)
    plane = torch.from_numpy(array).permute(2, 0, 1).float() / 255
    found = sample_plane(model.method, plane, model.card.preprocess, Compute("cpu", "float32"))
    np.testing.assert_allclose(found.numpy(), predicted(model, scan_of(array), samples=1).mean, atol=1e-5)


# -- some of the slices


def test_only_the_asked_slices_hold_a_result(tiny_model: Model) -> None:
    """They are what they are in a run of all, and the run is complete."""
    scan = scan_of(picture(6, 20, 24), "zyx", TURNED)
    whole = predicted(tiny_model, scan, samples=3)
    part = predicted(tiny_model, scan, samples=3, slices=(2, 3), first_plane=5)
    assert part.record.complete
    assert (part.record.slices, part.record.planes_done, part.record.planes) == ((2, 3), 2, 6)
    assert np.array_equal(part.mean[:, 2:4], whole.mean[:, 2:4])
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

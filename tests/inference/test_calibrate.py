"""Calibration on annotated images; here of models that answer what they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.temperature import Temperature
from napari_latentseg.data.cases import Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.case_figures import soft_dice
from napari_latentseg.inference import segment_each as segmenting
from napari_latentseg.inference.calibrate import Calibration
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import TrainingData
from napari_latentseg.models.folder import Model
from napari_latentseg.models.split import Split

ONE = (ClassInfo(label=1, name="whole", color="#ffb000"),)
NESTED = (
    ClassInfo(label=1, name="whole", color="#ffb000", includes=("part",)),
    ClassInfo(label=2, name="part", color="#00ffb0"),
)
REQUEST = InferenceSettings(samples=4, source="augment")


@pytest.fixture
def pairs(write_ellipses: Callable[..., Path], tmp_path: Path) -> list[Case]:
    return find_cases(write_ellipses(tmp_path / "data", count=24))


class Sure:
    """Answers with the masks themselves as probabilities of 0.8, and with volumes more or less wrong."""

    def __init__(self, pairs: list[Case], classes: tuple[ClassInfo, ...] = ONE) -> None:
        data = TrainingData(name="drawn", licence="CC0", images=1, validation_images=len(pairs))
        card = SimpleNamespace(classes=classes, training_data=(data,))
        self.model = SimpleNamespace(card=card)
        self.compute = SimpleNamespace(precision="float32", device="mps", engine="torch")
        self.masks = [p.read_mask()[0] > 0 for p in pairs]
        self.wrong = np.random.default_rng(0).lognormal(0, 0.2, len(pairs))
        self.asked = 0

    def segment(self, scan: Scan, request: InferenceSettings) -> SimpleNamespace:
        mask, wrong = self.masks[self.asked], self.wrong[self.asked]
        self.asked += 1
        size, _ = scan.geometry.voxel_volume
        grown = (
            mask.sum()
            * wrong
            * np.array([1.0, 1.1, 1.2, 1.3])[:, None]
            * np.ones(len(self.model.card.classes))
        )
        return SimpleNamespace(
            mask=mask.astype(np.uint8),
            mean=np.where(mask, np.float32(0.8), np.float32(0))[None],
            volumes=np.round(grown) * size,
            geometry=scan.geometry,
            axes=scan.spatial_axes,
        )


@pytest.fixture(autouse=True)
def segment_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that answers what it is told is asked scan by scan."""

    def segment_each(predictor: Any, scans: Iterable[Any], settings: InferenceSettings) -> Iterator[Any]:
        if not isinstance(predictor, Sure):
            yield from segmenting.segment_each(predictor, scans, settings)
            return
        for key, scan in scans:
            yield key, scan if isinstance(scan, BadInput) else predictor.segment(scan, settings)

    monkeypatch.setattr("napari_latentseg.inference.calibrate.segment_each", segment_each)


def test_means_and_volumes_are_held_against_the_masks(pairs: list[Case]) -> None:
    predictor = Sure(pairs)
    found = Calibration(predictor, REQUEST, pairs)
    assert list(found.run())[-1] == 1
    inside = sum(int(mask.sum()) for mask in predictor.masks)
    total = sum(mask.size for mask in predictor.masks)
    curve = found.reliability()
    assert curve.ece == pytest.approx(0.2 * inside / total, abs=1e-5)
    assert curve.ece_unsure == pytest.approx(0.2, abs=1e-5)
    assert (curve.images, curve.samples, curve.source) == (24, 4, "augment")
    np.testing.assert_array_equal(
        found.reference_voxel_counts[:, 0], [mask.sum() for mask in predictor.masks]
    )
    np.testing.assert_allclose(
        found.sample_voxel_counts[:, 2, 0],
        found.reference_voxel_counts[:, 0] * 1.2 * predictor.wrong,
        atol=0.51,
    )


def test_the_halves_are_drawn_by_content(pairs: list[Case]) -> None:
    found = Calibration(Sure(pairs), REQUEST, pairs)
    list(found.run())
    fit, test = found.fit_and_test_indices()
    assert sorted([*fit, *test]) == list(range(24))
    assert (len(fit), len(test)) == (12, 12)
    assert list(fit) != list(range(12))
    names = {found.image_hashes[i] for i in fit}
    turned = Calibration(Sure(pairs[::-1]), REQUEST, pairs[::-1])
    list(turned.run())
    assert {turned.image_hashes[i] for i in turned.fit_and_test_indices()[0]} == names


def test_one_image_in_two_files_is_in_one_half(pairs: list[Case], tmp_path: Path) -> None:
    copies = []
    for pair in pairs:
        copy = tmp_path / f"again-{pair.name}.png"
        Image.open(pair.image_file).save(copy, compress_level=1)
        copies.append(Case.from_files(f"again-{pair.name}", copy, pair.mask_file))
    found = Calibration(Sure([*pairs, *copies]), REQUEST, [*pairs, *copies])
    list(found.run())
    fit, test = found.fit_and_test_indices()
    assert len(fit) == len(test) == 24
    assert {found.image_hashes[i] for i in fit}.isdisjoint(found.image_hashes[i] for i in test)


def test_the_interval_is_tested_on_the_other_half(pairs: list[Case]) -> None:
    found = Calibration(
        Sure(pairs), REQUEST, pairs, Split(validation=frozenset(p.content_sha256 for p in pairs))
    )
    list(found.run())
    made = found.volume_interval()
    assert (made.dimensions, made.precisions) == (2, (found.predictor.compute.precision,))
    assert (made.cases, made.tested_on) == (12, 12)
    assert (made.samples, made.source, made.threshold) == (4, "augment", 0.5)
    assert made.coverage["whole"] >= 0.75
    assert made.data == "12 validation images of drawn"
    low, high = made.interval("whole", found.sample_voxel_counts[0, :, 0])
    assert low <= found.sample_voxel_counts[0, :, 0].mean() <= high


def test_a_class_is_counted_with_its_parts(pairs: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes of samples and the labels of a reference leave out what is a part; sizes do not."""
    truth = np.zeros((1, 48, 64), np.uint8)
    truth[0, :4, :5], truth[0, :2, :2] = 1, 2
    monkeypatch.setattr(Case, "read_class_numbers", lambda self, label_map: truth)
    found = Calibration(Sure(pairs, NESTED), REQUEST, pairs[:1])
    monkeypatch.setattr(
        found.predictor,
        "segment",
        lambda scan, request: SimpleNamespace(
            mask=truth[0],
            mean=np.stack([truth[0] > 0, truth[0] == 2]).astype(np.float32),
            volumes=np.array([[16.0, 4.0]] * 4),
            geometry=scan.geometry,
            axes=scan.spatial_axes,
        ),
    )
    list(found.run())
    assert found.reference_voxel_counts.tolist() == [[20, 4]]
    assert found.sample_voxel_counts.tolist() == [[[20, 4]] * 4]
    assert found.reliability().ece == 0  # a probability is that of the class with its parts


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (InferenceSettings(samples=2, source="augment"), "2 from 'augment'"),
        (InferenceSettings(samples=1, source="none"), "are too few to measure their spread"),
    ],
)
def test_too_few_samples_are_refused(pairs: list[Case], request_: InferenceSettings, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        Calibration(Sure(pairs), request_, pairs)


def test_images_that_were_trained_on_are_refused(pairs: list[Case]) -> None:
    with pytest.raises(BadInput, match="1 of the 24 images were used to train"):
        Calibration(Sure(pairs), REQUEST, pairs, Split(frozenset([pairs[3].content_sha256, "another"])))
    with pytest.raises(BadInput, match="no annotated image"):
        Calibration(Sure(pairs), REQUEST, [])


def test_few_images_make_no_interval(pairs: list[Case]) -> None:
    found = Calibration(Sure(pairs), REQUEST, pairs[:16])
    list(found.run())
    with pytest.raises(BadInput, match="are 16, half of them to fit on"):
        found.volume_interval()
    assert found.volume_interval(0.8).factors


def test_a_mask_of_another_size_is_refused(pairs: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Case,
        "read_class_numbers",
        lambda self, label_map: np.zeros((1, 5, 5), np.uint8),
    )
    with pytest.raises(BadInput, match="give a mask of the same shape"):
        Calibration(Sure(pairs), REQUEST, pairs)


@pytest.mark.parametrize(
    ("changed_pixels", "images", "is_allowed"), [(0, 20, True), (3, 20, True), (4, 1, False)]
)
def test_bfloat16_is_allowed_where_it_changes_no_mask(
    tiny_model: Model, pairs: list[Case], monkeypatch: pytest.MonkeyPatch,
    changed_pixels: int, images: int, is_allowed: bool,
) -> None:  # fmt: skip
    """The images have 3072 pixels. The first mask that changes too much ends the comparison."""
    precisions: list[str] = []

    def compared(model: Model, device: str, precision: str) -> Predictor:
        precisions.append(precision)
        return Predictor(model, device, "float32")

    def segment_each(predictor: Any, scans: Iterable[Any], settings: InferenceSettings) -> Iterator[Any]:
        for key, result in segmenting.segment_each(predictor, scans, settings):
            mask = result.mask.copy()
            mask.ravel()[:changed_pixels] ^= 1
            yield key, replace(result, mask=mask)

    monkeypatch.setattr("napari_latentseg.inference.bfloat16.has_native_bfloat16", lambda device: True)
    monkeypatch.setattr("napari_latentseg.inference.bfloat16.Predictor", compared)
    monkeypatch.setattr("napari_latentseg.inference.bfloat16.segment_each", segment_each)
    calibration = Calibration(Predictor(tiny_model, "cpu", "float32"), REQUEST, pairs)
    fractions = list(calibration.run())
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert precisions == ["bfloat16"]
    check = calibration.bfloat16
    assert check is not None
    assert (check.images, check.is_allowed) == (images, is_allowed)
    assert check.max_mask_change == pytest.approx(changed_pixels / 3072, abs=1e-6)
    expected = ("bfloat16", "float32") if is_allowed else ("float32",)
    assert calibration.volume_interval().precisions == expected


@pytest.mark.parametrize(("precision", "is_native"), [("float32", False), ("bfloat16", True)])
def test_bfloat16_is_not_compared_where_it_cannot_help(
    tiny_model: Model, pairs: list[Case], monkeypatch: pytest.MonkeyPatch, precision: str, is_native: bool
) -> None:
    monkeypatch.setattr("napari_latentseg.inference.bfloat16.has_native_bfloat16", lambda device: is_native)
    calibration = Calibration(Predictor(tiny_model, "cpu", precision), REQUEST, pairs[:2])
    assert list(calibration.run()) == [0.5, 1.0]
    assert calibration.bfloat16 is None


def test_a_real_model(tiny_model: Model, pairs: list[Case]) -> None:
    """Its samples' volumes are those of a run, in elements."""
    predictor = Predictor(tiny_model, "cpu", "float32")
    found = Calibration(predictor, REQUEST, pairs[:2])
    list(found.run())
    from napari_latentseg.io import read_scan

    run = predictor.segment(read_scan(pairs[1].image_file), REQUEST)
    size, _ = run.geometry.voxel_volume
    np.testing.assert_allclose(found.sample_voxel_counts[1], run.volumes / size)
    assert sum(found.reliability().counts) == 2 * 48 * 64


class Overconfident(Sure):
    """Its mean is too sure: the truth is that of a temperature of 2, around the masks."""

    def segment(self, scan: Scan, request: InferenceSettings) -> SimpleNamespace:
        number = self.asked
        answer = super().segment(scan, request)
        rng = np.random.default_rng(number)
        true = np.clip(
            np.where(self.masks[number], 0.85, 0.15) + rng.normal(0, 0.05, scan.array.shape), 0.01, 0.99
        )
        self.drawn.append(rng.random(true.shape) < true)
        answer.mean = (true**2 / (true**2 + (1 - true) ** 2)).astype(np.float32)[None]
        answer.mask = (answer.mean[0] > request.threshold).astype(np.uint8)
        self.requests.append(request)
        return answer


@pytest.fixture
def overconfident(pairs: list[Case], monkeypatch: pytest.MonkeyPatch) -> Calibration:
    predictor = Overconfident(pairs)
    predictor.drawn, predictor.requests = [], []
    found = Calibration(predictor, REQUEST.replace(threshold=0.3), pairs)
    numbers = {pair.name: i for i, pair in enumerate(pairs)}

    def references(case: Case, label_map: Any) -> np.ndarray:
        return predictor.drawn[numbers[case.name]][None].astype(np.uint8)

    found._reference_readers = [partial(references, case, None) for case in pairs]
    list(found.run())
    return found


def test_the_temperature_is_fitted_and_the_masks_stay(overconfident: Calibration) -> None:
    before = overconfident.reliability()
    soft_before = [row[0].soft_dice for row in overconfident.case_figures]
    updates, notes = overconfident.card_updates()
    assert notes == []
    temperature = updates["temperature"]
    assert temperature.value == pytest.approx(2, rel=0.05)
    assert updates["threshold"] == temperature.calibrated_threshold(0.3)
    assert updates["reliability"].ece_unsure < 0.02 < before.ece_unsure
    assert updates["temperature_fit"].ece_before == pytest.approx(before.ece, abs=1e-3)
    for name in ("volume_interval", "contour_band", "expected_dice"):
        assert updates[name].threshold == updates["threshold"]
    assert [row[0].soft_dice for row in overconfident.case_figures] != soft_before


def test_the_soft_dice_is_that_of_the_calibrated_mean(overconfident: Calibration, pairs: list[Case]) -> None:
    overconfident.fit_temperature()
    predictor = Overconfident(pairs)
    predictor.drawn, predictor.requests = [], []
    scans = [pair.read_scan() for pair in pairs[:3]]
    for scan, (figures,) in zip(scans, overconfident.case_figures, strict=False):
        answer = predictor.segment(scan, REQUEST.replace(threshold=0.3))
        mean = overconfident.temperature.calibrated(answer.mean[0])
        assert figures.soft_dice == pytest.approx(soft_dice(mean, answer.mask > 0), abs=1e-3)


def test_a_calibrated_model_is_calibrated_anew_from_what_it_gives(overconfident: Calibration) -> None:
    """The second time the temperature of the first is left out, so it is found again."""
    overconfident.fit_temperature()
    first, threshold = overconfident.temperature, overconfident.threshold
    predictor = overconfident.predictor
    predictor.asked, predictor.drawn[:], predictor.requests[:] = 0, [], []
    settings = overconfident.settings.replace(temperature=first, threshold=threshold)
    again = Calibration(predictor, settings, overconfident.cases)
    again._reference_readers = overconfident._reference_readers
    list(again.run())
    assert all(request.temperature.is_identity for request in predictor.requests)
    assert predictor.requests[0].threshold == pytest.approx(0.3, abs=1e-5)
    assert again.temperature == first  # until another is fitted, figures are those of the model as it is
    assert again.threshold == threshold
    ece_at_first = again.reliability().ece_unsure
    again.fit_temperature()
    assert again.temperature == first
    assert again.threshold == pytest.approx(threshold, abs=2e-6)
    assert ece_at_first < 0.02


def test_few_images_leave_the_temperature_as_it_is(pairs: list[Case]) -> None:
    warm = Temperature(value=1.5)
    found = Calibration(Sure(pairs), REQUEST.replace(temperature=warm), pairs[:4])
    list(found.run())
    updates, notes = found.card_updates()
    assert notes[0] == "no temperature: cases: are 4; a temperature needs 5; give more annotated images"
    assert not {"temperature", "threshold", "temperature_fit"} & set(updates)
    # right every time at 0.8, which is less at this temperature
    assert updates["reliability"].ece_unsure == pytest.approx(
        1 - warm.calibrated(np.array([0.8]))[0], abs=1e-4
    )

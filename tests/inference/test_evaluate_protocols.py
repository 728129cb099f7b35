"""Evaluation by the protocols of the papers, against a few lines on the same predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_latentseg import evaluate, evaluate_reconstruction
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.data.cases import rgb_slices
from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.data.slices import make_slice
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.protocols import PROTOCOLS
from napari_latentseg.evaluation.report import EvaluationReport
from napari_latentseg.inference.evaluate import Evaluation
from napari_latentseg.inference.protocol_size import at_size, protocol_size
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.io import format_for

CLASSES = (
    ClassInfo(label=1, name="liver", color="#ffb000"),
    ClassInfo(label=2, name="spleen", color="#00ffb0"),
)
SETTINGS = InferenceSettings(samples=1, source="none")


class Answering:
    """A model that predicts bright pixels, and remembers its answers."""

    def __init__(self, classes: tuple[ClassInfo, ...] = CLASSES[:1], size: int = 96) -> None:
        card = SimpleNamespace(
            name="answering", version="1", method_title="answering", classes=classes, training_data=(),
            preprocess=Preprocess(size=size),
        )  # fmt: skip
        self.model = SimpleNamespace(card=card)
        self.compute = SimpleNamespace(precision="float32")
        self.answers: list[np.ndarray] = []

    def segment(self, scan: Scan, settings: InferenceSettings) -> SimpleNamespace:
        grey = np.asarray(scan.array, dtype=np.float32) / 255
        if scan.axes.endswith("c"):
            grey = grey.mean(-1)
        mean = np.stack([grey if k == 0 else 1 - grey for k in range(len(self.model.card.classes))])
        mask = (mean[0] > 0.5).astype(np.uint8)
        if len(mean) > 1:
            mask[grey < 0.2] = 2
        self.answers.append(mask)
        record = SimpleNamespace(engine="torch")
        return SimpleNamespace(mask=mask, mean=mean, sample_maps=None, record=record)


@pytest.fixture(autouse=True)
def segment_one_by_one(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "tiny_model_folder" in request.fixturenames:
        return

    def segment_each(
        predictor: Any, scans: Iterable[Any], settings: InferenceSettings, on_sample: Any
    ) -> Iterator[Any]:
        for key, scan in scans:
            yield key, scan if isinstance(scan, BadInput) else predictor.segment(scan, settings)

    monkeypatch.setattr("napari_latentseg.inference.evaluate.segment_each", segment_each)


def write_photos(folder: Path, count: int = 3) -> Path:
    """Noisy discs with masks of 200 x 300 pixels; the last image has an empty mask."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:200, :300]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(count + 1):
        mask = np.hypot(rows - rng.uniform(80, 120), columns - rng.uniform(120, 180)) < rng.uniform(30, 60)
        image = np.clip(70 + 110 * mask + rng.normal(0, 25, mask.shape), 0, 255)
        mask &= i < count
        Image.fromarray(image.astype(np.uint8)).convert("RGB").save(folder / "images" / f"{i}.png")
        Image.fromarray((255 * mask).astype(np.uint8)).save(folder / "masks" / f"{i}.png")
    return folder


def write_volumes(folder: Path, count: int = 3) -> Path:
    """Volumes of 6 x 40 x 50 voxels with two classes; the second class is not in the last one."""
    rng = np.random.default_rng(6)
    geometry = Geometry.from_spacing("zyx", (2.0, 1.5, 1.5), "mm")
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(count):
        labels = np.zeros((6, 40, 50), np.uint8)
        labels[1:5, 5:20, 5:20] = 1
        if i < count - 1:
            labels[2:6, 22:36, 25:45] = 2
        image = np.array([110, 220, 20])[labels] + rng.normal(0, 30, labels.shape)
        image = np.clip(image, 0, 255).astype(np.uint8)
        for part, values in (("images", image), ("masks", labels)):
            format_for("nifti").write(folder / part / f"v{i}.nii.gz", values, "zyx", geometry, {})
    return folder


def run(predictor: Answering, folder: Path, protocol: str) -> EvaluationReport:
    evaluation = Evaluation(predictor, SETTINGS, find_cases(folder), protocol=PROTOCOLS[protocol])
    list(evaluation.run())
    return evaluation.report()


def reference_at(folder: Path, size: int) -> list[np.ndarray]:
    """The masks as the code of GMS reads them."""
    return [
        np.asarray(Image.open(path).convert("L").resize((size, size), Image.Resampling.NEAREST)) >= 128
        for path in sorted((folder / "masks").iterdir())
    ]


def test_gms_is_scored_at_224(tmp_path: Path) -> None:
    folder, model = write_photos(tmp_path), Answering()
    report = run(model, folder, "gms")
    dsc, iou = [], []
    for answer, truth in zip(model.answers, reference_at(folder, 224), strict=True):
        assert answer.shape == (224, 224)
        both, either = ((answer > 0) & truth).sum(), ((answer > 0) | truth).sum()
        dsc.append(2 * both / (both + either) if both + either else 0)
        iou.append(both / either if either else 0)
    assert report.protocol is not None
    assert report.protocol.mean.dsc == pytest.approx(np.mean(dsc), abs=1e-12)
    assert report.protocol.mean.iou == pytest.approx(np.mean(iou), abs=1e-12)
    assert [image.dsc for image in report.images] == pytest.approx(dsc)
    assert report.mean == report.protocol.mean
    assert (report.protocol.size, report.protocol.precision) == (224, "float32")
    assert report.protocol.empty == {"prediction": 0, "truth": 1, "both": 0}
    assert report.protocol.soft_dsc is not None
    assert report.protocol.soft_dsc < report.protocol.mean.dsc
    assert report.conventions["size"] == "at 224 x 224 pixels"
    json.dumps(report.to_json())


def test_sdseg_is_scored_at_256(tmp_path: Path) -> None:
    folder, model = write_photos(tmp_path), Answering()
    report = run(model, folder, "sdseg")
    dsc, iou = [], []
    for answer, truth in zip(model.answers, reference_at(folder, 256), strict=True):
        p, t = (answer > 0).astype(float), truth.astype(float)
        dsc.append(1.0 if p.any() and not t.any() else 2 * (p * t).sum() / (p.sum() + t.sum() + 1e-10))
        iou.append((p * t).sum() / (p.sum() + t.sum() - (p * t).sum() + 1e-10))
    assert report.mean.dsc == pytest.approx(np.mean(dsc), abs=1e-9)
    assert report.mean.iou == pytest.approx(np.mean(iou), abs=1e-9)
    assert dsc[-1] == 1  # what is predicted where nothing is


def test_sdseg_scores_volumes_whose_planes_are_resized(tmp_path: Path) -> None:
    folder, model = write_volumes(tmp_path), Answering(CLASSES)
    report = run(model, folder, "sdseg")
    assert model.answers[0].shape == (6, 256, 256)
    assert report.image_count == 3


def test_medseglatdiff_pools_at_the_size_of_the_model(tmp_path: Path) -> None:
    folder, model = write_photos(tmp_path), Answering(size=96)
    report = run(model, folder, "medseglatdiff")
    prediction = np.stack(model.answers) > 0
    truth = np.stack(reference_at(folder, 96))
    dsc = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    assert report.protocol is not None
    assert report.protocol.size == 96
    assert report.protocol.pooled.dsc == pytest.approx(dsc, abs=1e-12)
    assert report.protocol.pooled.iou == pytest.approx(
        (prediction & truth).sum() / (prediction | truth).sum(), abs=1e-12
    )


def test_guided_gives_each_class_over_the_volumes_that_hold_it(tmp_path: Path) -> None:
    folder, model = write_volumes(tmp_path), Answering(CLASSES)
    report = run(model, folder, "guided")
    truths = [case.read_mask({1, 2}) for case in find_cases(folder)]
    expected = {}
    for label, name in ((1, "liver"), (2, "spleen")):
        expected[name] = [
            2 * ((a == label) & (t == label)).sum() / ((a == label).sum() + (t == label).sum())
            for a, t in zip(model.answers, truths, strict=True)
            if (t == label).any()
        ]
    assert report.protocol is not None
    found = {name: (c.images, c.dsc) for name, c in report.protocol.classes.items()}
    assert found == {name: (len(v), pytest.approx(np.mean(v))) for name, v in expected.items()}
    assert report.protocol.mean.dsc == pytest.approx(np.mean([np.mean(v) for v in expected.values()]))
    assert report.mean == report.protocol.mean
    assert report.protocol.size is None


def test_images_of_the_other_dimension_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"v0\.nii\.gz: has 6 slices, and the protocol gms"):
        run(Answering(CLASSES), write_volumes(tmp_path / "v"), "gms")
    with pytest.raises(BadInput, match=r"0\.png: is a single image, and the protocol guided"):
        run(Answering(), write_photos(tmp_path / "p"), "guided")


@pytest.mark.parametrize("colours", [False, True])
def test_the_model_sees_what_it_sees_in_training(colours: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (90, 120, 3) if colours else (90, 120), dtype=np.uint8)
    scan = Scan(values, "yxc" if colours else "yx", Geometry.from_spacing("yx", (0.5, 0.25), "mm"))
    labels = rng.integers(0, 2, (1, 90, 120), dtype=np.uint8)
    resized, reference = at_size(scan, labels, 64)
    label_map = LabelMap.for_model(CLASSES[:1])
    annotated = make_slice(
        rgb_slices(scan)[0], labels[0], label_map, Preprocess(size=64), None, content_sha256=""
    )
    assert (rgb_slices(resized)[0].transpose(2, 0, 1) == annotated.image.numpy()).all()
    assert (reference[0] == annotated.mask.numpy()[0]).all()
    assert resized.geometry.spacing == pytest.approx((0.5 * 90 / 64, 0.25 * 120 / 64))


def test_a_model_with_a_window_sees_the_same_too() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-1000, 1000, (3, 90, 120), dtype=np.int16)
    scan = Scan(values, "zyx", Geometry.from_spacing("zyx", (2.0, 1.0, 1.0), "mm"))
    labels = np.ones((3, 90, 120), np.uint8)
    window = (-125.0, 275.0)
    resized, _ = at_size(scan, labels, 64, window)
    seen = rgb_slices(resized, window)
    for i, rgb in enumerate(rgb_slices(scan, window)):
        annotated = make_slice(
            rgb, labels[i], LabelMap.for_model(CLASSES[:1]), Preprocess(size=64), None, content_sha256=""
        )
        assert (seen[i].transpose(2, 0, 1) == annotated.image.numpy()).all()


def test_the_size_is_the_papers_or_the_models() -> None:
    whole = SimpleNamespace(preprocess=Preprocess(size=128))
    tiles = SimpleNamespace(preprocess=Preprocess(mode="tiles", size=64, long_side=128))
    assert [protocol_size(p, whole) for p in PROTOCOLS.values()] == [224, 256, 128, None]
    assert protocol_size(PROTOCOLS["medseglatdiff"], tiles) is None


def test_the_papers_settings_are_taken(
    tiny_model_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "data", 2)
    report = evaluate(tiny_model_folder, data, protocol="gms", device="cpu")
    assert (report.samples, report.source, report.threshold, report.precision) == (1, "none", 0.5, "float32")
    report = evaluate(tiny_model_folder, data, protocol="medseglatdiff", device="cpu")
    assert (report.samples, report.source) == (5, "augment")
    report = evaluate(
        tiny_model_folder, data, protocol="gms", source="augment", samples=2, threshold=0.4, device="cpu"
    )
    assert (report.samples, report.source, report.threshold) == (2, "augment", 0.4)


def test_the_scores_of_fewer_samples_come_from_one_run(
    tiny_model_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "data", 2)
    report = evaluate(tiny_model_folder, data, samples=[4, 1, 2], source="augment", device="cpu")
    assert report.samples == 4
    assert [row.samples for row in report.by_samples] == [1, 2, 4]
    for row in report.by_samples:
        alone = evaluate(tiny_model_folder, data, samples=row.samples, source="augment", device="cpu")
        # but for pixels within 1/510 of the threshold, where the kept samples are rounded
        tolerance = 1e-12 if row.samples == 4 else 0.02
        assert row.dsc == pytest.approx(alone.mean.dsc, abs=tolerance)
    assert len({row.dsc for row in report.by_samples}) > 1


def test_samples_are_compared_with_each_other(
    tiny_model_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "data", 2)
    report = evaluate(
        tiny_model_folder, data, samples=3, source="augment", stability=True, protocol="gms", device="cpu"
    )
    assert report.stability is not None
    assert report.stability.pairs + report.stability.skipped == 4
    assert report.to_json()["stability"]["pairs"] == report.stability.pairs


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"protocol": "gsm"}, "protocol: 'gsm' is not known; did you mean 'gms'"),
        ({"stability": True, "source": "none"}, "stability: one sample cannot be compared"),
        ({"samples": [0, 2]}, "samples: "),
        ({"samples": []}, "samples: "),
        ({"samples": [1, 2.5]}, "samples: 2.5 is not a whole number"),
        ({"precision": "float8"}, "precision: 'float8' is not known"),
        ({"subset": "test"}, "subset: 'test' needs a list of images; give one with --split FILE"),
        ({"subset": "best"}, "subset: 'best' is not known"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    tiny_model_folder: Path, tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        evaluate(tiny_model_folder, write_photos(tmp_path, 1), device="cpu", **options)


def test_a_list_says_which_images_are_scored(
    tiny_model_folder: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "data", 5)
    lists = tmp_path / "split.json"
    lists.write_text(json.dumps({"train": ["case_0", "case_1"], "test": ["case_2.png", "case_4"]}), "utf-8")
    options: dict[str, Any] = {"source": "none", "device": "cpu", "split": lists}
    report = evaluate(tiny_model_folder, data, subset="test", **options)
    assert [image.name for image in report.images] == ["case_2", "case_4"]
    assert report.subset == "test"
    assert evaluate(tiny_model_folder, data, **options).image_count == 4
    with pytest.raises(BadInput, match=r"split\.json: has no list of validation images; it has train, test"):
        evaluate(tiny_model_folder, data, subset="validation", **options)
    lists.write_text(json.dumps({"test": ["case_7"]}), "utf-8")
    with pytest.raises(BadInput, match=r"split\.json: names an image that is not in the data: case_7"):
        evaluate(tiny_model_folder, data, subset="test", **options)


def test_a_reconstruction_is_that_of_the_codec(
    tiny_model_folder: Path, tiny_model: Any, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    import torch

    data = write_ellipses(tmp_path / "data", 2, shape=(64, 64))
    report = evaluate_reconstruction(tiny_model_folder, data, device="cpu")
    codec = tiny_model.method.codec
    dsc, psnr = [], []
    with torch.no_grad():
        for i in range(2):
            image, mask = (
                torch.from_numpy(np.array(Image.open(data / part / f"case_{i}.png"))).float()[None, None]
                / 255
                for part in ("images", "masks")
            )
            rgb = image.expand(-1, 3, -1, -1)
            error = (codec.decode(codec.encode(rgb)).clamp(0, 1) - rgb).square().mean()
            psnr.append(float(-10 * torch.log10(error)))
            decoded = codec.decode_mask(codec.encode_mask(mask)) > 0.5
            dsc.append(float(2 * (decoded & (mask > 0)).sum() / (decoded.sum() + (mask > 0).sum())))
    assert report.mask_dsc == pytest.approx(np.mean(dsc), abs=1e-6)
    assert report.image_psnr == pytest.approx(np.mean(psnr), abs=1e-4)
    assert (report.slice_count, report.mask_count) == (2, 2)
    assert [row[0] for row in report.rows()] == ["", "images", "masks"]
    json.dumps(report.to_json())

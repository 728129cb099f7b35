"""Which cases a list has, and what it knows of them without opening an image."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.segmentation import segmentation

from napari_latentseg import InferenceSettings, batch, list_cases, segment_files
from napari_latentseg.caselist.listed_case import ListedCase, doubt_of_sizes, worth_order
from napari_latentseg.caselist.results import _sizes
from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Measurement


def write_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (24, 32), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


SETTINGS = InferenceSettings(samples=3, source="augment")


def states(cases: list[ListedCase]) -> dict[str, str]:
    return {case.name: case.state for case in cases}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a.png", "b.png", "x/c.png")):
        write_image(tmp_path / "scans" / name, seed)
    return tmp_path / "scans"


def test_a_folder_of_images_without_results(scans: Path) -> None:
    assert states(list_cases(scans)) == {"a": "new", "b": "new", "x_c": "new"}


@pytest.mark.parametrize("where", ["in a folder of their own", "beside the images"])
def test_a_folder_of_images_with_results(
    scans: Path, tiny_model_folder: Path, tmp_path: Path, where: str
) -> None:
    out = scans if where == "beside the images" else tmp_path / "out"
    list(segment_files([scans / "b.png", scans / "x/c.png"], tiny_model_folder, out, SETTINGS))
    cases = list_cases(scans, None if out == scans else out)
    assert states(cases) == {"b": "segmented", "x_c": "segmented", "a": "new"}
    first = cases[0]
    assert first.result == out / f"{'b' if first.name == 'b' else 'c'}_run.json"
    (size,) = first.sizes
    assert size.low is not None
    assert size.low <= size.value <= size.high
    assert 0 <= first.doubt <= 1


def test_the_results_of_a_batch(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    (scans / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    report = batch(scans, tiny_model_folder, out, samples=3)
    cases = {case.name: case for case in list_cases(out)}
    assert states(list(cases.values())) == {
        "a": "segmented",
        "b": "segmented",
        "x_c": "segmented",
        "bad": "new",
    }
    assert "bad.png" in cases["bad"].problem
    outcome = next(outcome for outcome in report.outcomes if outcome.case == "a")
    assert (cases["a"].fit, cases["a"].sizes[0].value) == (outcome.fit, outcome.sizes[0].size)
    assert cases["a"].result == out / outcome.result
    assert states(list_cases(scans, out)) == states(list(cases.values()))


def test_the_table_of_a_batch_of_an_earlier_version(
    scans: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    batch(scans, tiny_model_folder, out, samples=3)
    lines = [line.split("\t") for line in (out / "cases.tsv").read_text("utf-8").splitlines()]
    kept = [i for i, name in enumerate(lines[0]) if name not in ("fit", "expected_dice")]
    assert len(kept) == len(lines[0]) - 2
    text = "".join("\t".join(line[i] for i in kept) + "\n" for line in lines)
    (out / "cases.tsv").write_text(text, "utf-8")
    first = list_cases(out)[0]
    assert (first.state, first.fit) == ("segmented", "")
    assert first.doubt is not None  # from the interval of the size


def test_the_results_of_a_deidentified_batch(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    batch(scans, tiny_model_folder, out, samples=3, deidentify=True)
    assert {case.path for case in list_cases(out)} == {None}
    cases = list_cases(scans, out)
    assert {case.path for case in cases} == {scans / "a.png", scans / "b.png", scans / "x/c.png"}
    assert {case.state for case in cases} == {"segmented"}
    assert all(case.name.startswith("scan-") for case in cases)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.png", "masks/a.png"),
        ("imagesTr/a_0000.png", "labelsTr/a.png"),
        ("a.png", "a_mask.png"),
        ("a.png", "a_seg.png"),
        ("images/Ho\u0308hle.png", "masks/H\u00f6hle.png"),  # as macOS writes it, and as other systems do
    ],
)
def test_masks_without_a_model(tmp_path: Path, image: str, mask: str) -> None:
    write_image(tmp_path / "set" / image)
    write_image(tmp_path / "set" / mask)
    (case,) = list_cases(tmp_path / "set")
    assert (case.state, case.mask, case.doubt) == ("segmented", tmp_path / "set" / mask, None)


def test_images_and_their_masks_in_two_folders(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png")
    write_image(tmp_path / "images" / "b.png")
    write_image(tmp_path / "drawn" / "b.png")
    assert states(list_cases(tmp_path / "images", tmp_path / "drawn")) == {"b": "segmented", "a": "new"}


def test_a_csv_file(scans: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("case,path\nstudy-2,scans/b.png\nstudy-1,scans/a.png\nstudy-3,scans/gone.png\n", "utf-8")
    list(segment_files([scans / "b.png"], tiny_model_folder, tmp_path / "out", SETTINGS))
    cases = list_cases(table, tmp_path / "out")
    assert states(cases) == {"study-2": "segmented", "study-1": "new", "study-3": "new"}
    assert "gone.png: no such file" in next(case.problem for case in cases if case.name == "study-3")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "no such file or folder"),
        ("scans/a.png", "is not a list of cases"),
        ("empty", "holds no image"),
    ],
)
def test_what_is_no_list_is_refused(scans: Path, tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=why):
        list_cases(tmp_path / name)


def size(name: str, low: float | None, high: float | None) -> Measurement:
    return Measurement(name, 1, 0, None, 1.0, "mm3", "", low=low, high=high)


@pytest.mark.parametrize(
    ("sizes", "expected_dice", "doubt"),
    [
        ((), None, None),
        ((size("a", None, None),), None, None),
        ((size("a", 10, 30),), None, 0.5),
        ((size("a", 10, 30), size("b", 0, 5)), None, 1.0),  # b may be absent
        ((size("a", 0, 0),), None, 0.0),  # no sample has any
        ((size("a", 10, 30),), 0.8, 0.2),
        ((), 1.2, 0.0),
    ],
)
def test_doubt(sizes: tuple[Measurement, ...], expected_dice: float | None, doubt: float | None) -> None:
    assert doubt_of_sizes(sizes, expected_dice) == (None if doubt is None else pytest.approx(doubt))


def test_where_looking_is_worth_most_comes_first() -> None:
    cases = [
        ListedCase("approved", state="approved", doubt=1.0),
        ListedCase("new"),
        ListedCase("unknown", state="segmented"),
        ListedCase("sure", state="segmented", doubt=0.1),
        ListedCase("doubtful", state="in review", doubt=0.6),
        ListedCase("unusual", state="segmented", fit="unusual", doubt=0.05),
        ListedCase("foreign", state="second reading", fit="foreign", doubt=0.0),
    ]
    assert [case.name for case in sorted(cases, key=worth_order)] == [
        "foreign", "unusual", "doubtful", "sure", "unknown", "new", "approved",
    ]  # fmt: skip


def test_listing_reads_no_pixels(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("images", "masks"):
        shutil.copytree(scans, tmp_path / "set" / name)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr("PIL.Image.open", refuse)
    monkeypatch.setattr("napari_latentseg.io.registry.read_scan_lazy", refuse)
    assert len(list_cases(tmp_path / "set")) == 3


def test_the_size_of_a_class_has_its_parts() -> None:
    record = segmentation().record
    liver = record.classes[0].model_copy(update={"label": 1, "name": "liver", "includes": ("tumour",)})
    tumour = liver.model_copy(update={"label": 2, "name": "tumour", "includes": ()})
    volumes = {"liver": [10.0, 20.0, 30.0], "tumour": [1.0, 2.0, 3.0]}
    sizes = _sizes(record.replace(classes=(liver, tumour), volumes=volumes))
    assert [(size.name, size.value) for size in sizes] == [("liver", 22.0), ("tumour", 2.0)]

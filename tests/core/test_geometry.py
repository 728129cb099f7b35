"""One rule for "the same place": whoever compares two geometries takes and refuses the same ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.compare import compare
from napari_latentseg.finetuning.cases import collect_cases
from napari_latentseg.io import convert as converting
from napari_latentseg.io.convert import write_scan
from napari_latentseg.io.dicom import source
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.widgets.annotate import autosave
from napari_latentseg.widgets.annotate.correction import Correction
from napari_latentseg.widgets.train.data_source import layer_pairs

SPACING = (5.0, 0.5, 0.5)
SHAPE = (4, 20, 24)
TARGET = (ClassInfo(label=1, name="target", color="#ffb000"),)
MASK = np.zeros(SHAPE, np.uint8)
MASK[1:3, 5:12, 6:14] = 1
IMAGE = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)


def placed(moved: tuple[float, ...] = (0, 0, 0), unit: str = "mm", frame: str = "LPS") -> Geometry:
    """Slices 5 mm thick of pixels of 0.5 mm, moved by so many mm."""
    size = {"mm": 1.0, "um": 1000.0}[unit]
    matrix = np.diag([*(size * s for s in SPACING), 1.0])
    matrix[:3, 3] = size * np.array(moved)
    return Geometry.from_matrix(matrix, (unit,) * 3, ("z", "y", "x"), frame)


def scan_at(geometry: Geometry) -> Scan:
    return Scan(IMAGE, "zyx", geometry, format="nifti")


# --- whoever asks; each raises BadInput, or says False, where the mask lies elsewhere ---------------


def by_store(mask: Geometry, folder: Path, card: ModelCard) -> None:
    with AnnotationStore(folder / "store") as store:
        store.approve(scan_at(placed()), MASK, classes=TARGET, planes=[1], geometry=mask)


def by_the_case_of_a_store(image: Geometry, folder: Path, card: ModelCard) -> bool:
    """The same image, approved twice, is one case."""
    with AnnotationStore(folder / "store") as store:
        for geometry in (placed(), image):
            store.approve(scan_at(geometry), MASK, classes=TARGET, planes=[1])
        return len(store.cases()) == 1


def by_fine_tuning(mask: Geometry, folder: Path, card: ModelCard) -> None:
    for part, values, geometry in (("images", IMAGE, placed()), ("masks", MASK, mask)):
        (folder / part).mkdir()
        write_scan(Scan(values, "zyx", geometry), folder / part / "case.nii.gz")
    (case,) = collect_cases([folder], card)
    case.read_annotation(case.read_scan())


def by_compare(mask: Geometry, folder: Path, card: ModelCard) -> None:
    (found,) = compare(MASK, MASK, placed(), TARGET, reference_geometry=mask)
    assert found.dsc == 1


def by_resuming_a_draft(image: Geometry, folder: Path, card: ModelCard) -> bool:
    """Whether the draft's image is one that is open."""
    with AnnotationStore(folder / "store") as store:
        draft = store.save_draft(scan_at(placed()), MASK, classes=TARGET)
        assert draft is not None
        resumed, _ = store.resume_draft(draft)
        return autosave._is_same_scan(scan_at(image), resumed)


def layer_at(kind: type[Image | Labels], values: Any, geometry: Geometry, **others: Any) -> Any:
    return kind(values, affine=geometry.matrix, units=geometry.units, axis_labels=("z", "y", "x"), **others)


def by_layers(mask: Geometry, folder: Path, card: ModelCard) -> bool:
    """Whether a mask can be learnt from with its image, both open."""
    viewer = ViewerModel()
    viewer.layers.append(layer_at(Image, IMAGE, placed()))
    viewer.layers.append(layer_at(Labels, MASK, mask))
    return len(layer_pairs(viewer)) == 1


def by_the_copy_that_is_painted(mask: Geometry, folder: Path, card: ModelCard) -> None:
    work = Correction(layer_at(Image, IMAGE, placed()), scan_at(placed()), (0, 1, 2), TARGET, "m", None)
    work.create_layer(MASK.copy()).affine = mask.matrix
    work.current_mask()


def by_the_source_of_a_result(image: Geometry, folder: Path, card: ModelCard) -> None:
    """Whether the DICOM series that is there is the one that was segmented."""
    series = SimpleNamespace(header=SimpleNamespace(series="1.2"), geometry=image, shape=SHAPE)
    found: Any = SimpleNamespace(properties={"dicom_series": "1.2"}, geometry=placed(), shape=SHAPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "find_series", lambda path: ([series], ()))
        assert source._matching_series(found, Path("series")) is series


CALLERS: dict[str, Callable[[Geometry, Path, ModelCard], bool | None]] = {
    "the store": by_store,
    "the case of a store": by_the_case_of_a_store,
    "fine-tuning": by_fine_tuning,
    "compare": by_compare,
    "resuming a draft": by_resuming_a_draft,
    "layers that are open": by_layers,
    "the copy that is painted": by_the_copy_that_is_painted,
    "the source of a result": by_the_source_of_a_result,
}


@pytest.fixture(scope="module")
def card(tiny_model_folder: Path) -> ModelCard:
    return read_card(tiny_model_folder)


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS.keys())
@pytest.mark.parametrize(
    ("moved", "is_taken"),
    [
        ((0, 0, 0), True),
        ((0, 0, 0.002), True),  # 0.004 of a pixel
        ((0, 0.002, 0.002), True),
        ((0.02, 0, 0), True),  # 0.004 of a slice
        ((0, 0, 0.02), False),  # 0.04 of a pixel
        ((0, -0.04, 0), False),
        ((0.2, 0, 0), False),  # 0.04 of a slice
    ],
    ids=str,
)
def test_the_same_masks_are_taken_by_all(
    caller: Callable[[Geometry, Path, ModelCard], bool | None],
    moved: tuple[float, ...],
    is_taken: bool,
    tmp_path: Path,
    card: ModelCard,
) -> None:
    message = ""
    try:
        answer = caller(placed(moved), tmp_path, card)
    except BadInput as error:
        answer, message = False, str(error)
    assert (answer is not False) == is_taken, message
    assert "\n" not in message


def test_micrometres_lie_where_millimetres_do(tmp_path: Path, card: ModelCard) -> None:
    for name in ("the store", "compare", "the case of a store", "the source of a result"):
        folder = tmp_path / name
        folder.mkdir()
        assert CALLERS[name](placed(unit="um"), folder, card) is not False, name
        assert placed(unit="um").agrees_with(placed(), SHAPE)


# --- the rule --------------------------------------------------------------------------------------


def test_what_never_agrees() -> None:
    here = placed()
    assert not here.agrees_with(placed(frame=""), SHAPE)
    assert not here.agrees_with(Geometry.from_spacing("yx", (0.5, 0.5), "mm"), SHAPE)
    pixels = Geometry(here.affine, ("pixel",) * 3, here.axis_labels, here.frame)
    assert not here.agrees_with(pixels, SHAPE)
    assert pixels.agrees_with(pixels, SHAPE)
    with pytest.raises(ValueError, match="shape"):
        here.agrees_with(here, SHAPE[1:])


def test_the_far_corner_counts_and_an_axis_of_one_element_does_not() -> None:
    here, wider = placed(), Geometry.from_spacing("zyx", (5.0, 0.5, 0.5005), "mm")
    here = Geometry(here.affine, here.units, here.axis_labels)
    assert here.agrees_with(wider, (4, 20, 11))
    assert not here.agrees_with(wider, (4, 20, 13))
    thick = Geometry.from_spacing("zyx", (9.0, 0.5, 0.5), "mm")
    assert here.agrees_with(thick, (1, 20, 24))
    assert not here.agrees_with(thick, (2, 20, 24))


def test_time_is_measured_in_its_own_steps() -> None:
    """Frames of 40 ms beside pixels of 10 mm: neither tolerance is the other's."""
    series = Geometry.from_spacing("tyx", (0.04, 10.0, 10.0), "mm")

    def with_start(axis: int, value: float) -> Geometry:
        matrix = series.matrix
        matrix[axis, -1] = value
        return Geometry.from_matrix(matrix, series.units, series.axis_labels)

    assert series.agrees_with(with_start(1, 0.05), (5, 20, 20))
    assert not series.agrees_with(with_start(0, 0.05), (5, 20, 20))
    milliseconds = Geometry.from_matrix(np.diag([40.0, 10, 10, 1]), ("ms", "mm", "mm"), ("t", "y", "x"))
    assert series.agrees_with(milliseconds, (5, 20, 20))


def test_a_file_that_must_be_exact_is_held_to_it() -> None:
    assert placed().agrees_with(placed((0.002, 0, 0)), SHAPE)
    assert not placed().agrees_with(placed((0.002, 0, 0)), SHAPE, atol=1e-4)
    assert not placed(unit="um").agrees_with(placed((0.002, 0, 0)), SHAPE, atol=1e-4)
    written = scan_at(placed((0.002, 0, 0)))
    with pytest.raises(BadInput, match="would not have the geometry of the image"):
        converting._check_same_geometry(Path("a.nii"), scan_at(placed()), written)
    converting._check_same_geometry(Path("a.nii"), scan_at(placed()), scan_at(placed((0.00002, 0, 0))))


angles = st.floats(-3.1, 3.1)


@given(angles, angles, st.floats(-0.5, 0.5), st.tuples(*[st.floats(-0.03, 0.03)] * 3))
def test_it_is_the_shift_in_elements_that_counts(
    turn: float, tilt: float, shear: float, steps: tuple[float, float, float]
) -> None:
    """However an array lies in the world; and both are asked alike."""
    c, s, d, e = np.cos(turn), np.sin(turn), np.cos(tilt), np.sin(tilt)
    linear = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, d, -e], [0, e, d]])
    linear = linear @ np.array([[1, 0, shear], [0, 1, 0], [0, 0, 1]]) * SPACING
    first, second = np.eye(4), np.eye(4)
    first[:3, :3] = second[:3, :3] = linear
    second[:3, 3] = linear @ steps
    one, other = (Geometry.from_matrix(m, ("mm",) * 3, ("z", "y", "x"), "LPS") for m in (first, second))
    assert one.agrees_with(other, SHAPE) == other.agrees_with(one, SHAPE)
    if abs(max(map(abs, steps)) - 0.01) > 1e-6:
        assert one.agrees_with(other, SHAPE) == (max(map(abs, steps)) < 0.01)


# --- what people look for --------------------------------------------------------------------------


@pytest.mark.parametrize("perm", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, -1)])
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_orientation_is_nibabels(perm: tuple[int, ...], signs: tuple[int, ...], tilt: float) -> None:
    c, s = np.cos(tilt), np.sin(tilt)
    linear = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(signs)[:, perm] * SPACING
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = (7.0, -2.0, 3.0)
    found = Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS")
    x_first = matrix[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    ras = np.diag([-1, -1, 1, 1]) @ x_first
    assert found.orientation == "".join(nib.aff2axcodes(ras))[::-1]
    assert found.origin == (7.0, -2.0, 3.0)
    np.testing.assert_allclose(found.direction * found.spacing, linear)


def test_orientation_leaves_time_out() -> None:
    matrix = np.diag([2.0, 5.0, -0.5, 0.5, 1.0])
    units = ("s", "mm", "mm", "mm")
    assert Geometry.from_matrix(matrix, units, ("t", "z", "y", "x"), "LPS").orientation == "SAL"
    assert Geometry.from_matrix(matrix, units, ("t", "z", "y", "x")).orientation == ""
    assert json.dumps(Geometry.from_matrix(matrix, units, tuple("tzyx")).origin) == "[0.0, 0.0, 0.0, 0.0]"

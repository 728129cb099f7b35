"""Grey images, RGB and RGBA in one store: a model sees three channels of each, and so does nnU-Net."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.helpers.annotated import CLASSES

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

CHANNELS = {"grey": 0, "rgb": 3, "rgba": 4}


def image(kind: str) -> Scan:
    channels = CHANNELS[kind]
    rng = np.random.default_rng(channels)
    shape = (20, 24, channels) if channels else (20, 24)
    values = rng.integers(0, 256, shape).astype(np.uint8)
    return Scan(values, "yxc" if channels else "yx", Geometry.from_spacing("yx"))


def mask() -> np.ndarray:
    values = np.zeros((20, 24), np.uint8)
    values[4:9, 5:12] = 1
    return values


def check_dataset(folder: Path, cases: int) -> None:
    """As nnU-Net reads it: three channels of every image, of a grey one all equal."""
    content = json.loads((folder / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert content["numTraining"] == cases
    names = sorted(path.name for path in (folder / "imagesTr").iterdir())
    assert len(names) == 3 * cases
    assert {name.rpartition("_")[2] for name in names} == {f"{c:04d}.nii.gz" for c in range(3)}


@pytest.mark.parametrize("order", list(itertools.permutations(CHANNELS)), ids="-".join)
def test_images_of_every_colour_are_approved_in_any_order(order: tuple[str, ...], tmp_path: Path) -> None:
    with AnnotationStore(tmp_path / "store") as store:
        for kind in order:
            store.approve(image(kind), mask(), classes=CLASSES[:1])
        check_dataset(store.folder, 3)
        assert store.verify() == []
        for kind, case in zip(order, store.annotated_cases(), strict=True):
            assert case.content_sha256 == image(kind).content_sha256
            assert np.array_equal(case.read_scan().array, image(kind).array)
            assert store.approved_planes(image(kind)) == (0,)
        exported = store.export_nnunet(tmp_path / "Dataset001")
        check_dataset(exported, 3)
        grey = store.case_records()[order.index("grey")].name
        channels = [
            np.asarray(nib.load(exported / "imagesTr" / f"{grey}_{c:04d}.nii.gz").dataobj) for c in range(3)
        ]
        assert np.array_equal(channels[0], channels[1])
        assert np.array_equal(channels[0], channels[2])
    with AnnotationStore(tmp_path / "store") as again:
        check_dataset(again.folder, 3)
        assert again.notes == ()


def test_grey_images_alone_keep_one_channel_also_after_a_colour_image_has_gone(tmp_path: Path) -> None:
    with AnnotationStore(tmp_path / "store") as store:
        store.approve(image("grey"), mask(), classes=CLASSES[:1])
        folder = store.folder / "imagesTr"
        assert len(list(folder.iterdir())) == 1
        colour = store.approve(image("rgb"), mask(), classes=CLASSES[:1])
        check_dataset(store.folder, 2)
        store.revoke(colour)
        assert [path.name.rpartition("_")[2] for path in folder.iterdir()] == ["0000.nii.gz"]
        assert store.verify() == []


def test_a_copy_of_a_grey_channel_that_was_changed_is_found(tmp_path: Path) -> None:
    with AnnotationStore(tmp_path / "store") as store:
        for kind in ("grey", "rgb"):
            store.approve(image(kind), mask(), classes=CLASSES[:1])
        grey = store.case_records()[0].name
        (store.folder / "imagesTr" / f"{grey}_0001.nii.gz").write_bytes(b"changed")
        (finding,) = store.verify()
        assert finding.file == f"imagesTr/{grey}_0001.nii.gz"


def test_images_of_other_channels_are_still_refused(tmp_path: Path) -> None:
    with AnnotationStore(tmp_path / "store") as store:
        store.approve(image("rgb"), mask(), classes=CLASSES[:1])
        five = Scan(np.zeros((20, 24, 5), np.uint8), "yxc", Geometry.from_spacing("yx"))
        with pytest.raises(BadInput, match="has 5 channels, and the images of these annotations have 3"):
            store.approve(five, mask(), classes=CLASSES[:1])

"""What tools/torture.py kills in the middle: approving, autosaving, checkpointing, adopting versions."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

Report = Callable[..., None]


class Job(Protocol):
    """One kind of writing."""

    name: str
    shares: bool  # whether two processes may do it in one place

    def run(self, folder: Path, seed: int, report: Report) -> None:
        """Write without end; in the child. `report(**facts)` after each thing that is done."""

    def check(self, folder: Path, seed: int, reported: list[dict[str, Any]]) -> None:
        """Raise AssertionError where something that was reported is not there; after the kill."""


# --- what the annotation jobs draw


def image_of(number: int) -> Any:
    """One of a few images: volumes that lie askew, photographs, a time series."""
    import numpy as np

    from napari_latentseg.core.geometry import Geometry
    from napari_latentseg.core.scan import Scan

    rng = np.random.default_rng([7, number])
    if number % 3 == 0:
        matrix = np.diag([2.5, 0.7, 0.7, 1.0])
        matrix[0, 1], matrix[:3, 3] = 0.2, rng.uniform(-100, 100, 3)
        values = rng.integers(-1000, 3000, (6, 40, 32)).astype(np.int16)
        return Scan(values, "zyx", Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS"))
    if number % 3 == 1:
        return Scan(rng.integers(0, 4000, (1, 48, 40)).astype(np.uint16), "zyx",
                    Geometry.from_spacing("zyx", (1.0, 0.5, 0.5), "mm"))  # fmt: skip
    return Scan(rng.random((3, 2, 24, 32)).astype(np.float32), "tzyx",
                Geometry.from_spacing("tzyx", (1.5, 3.0, 1.0, 1.0), "mm"))  # fmt: skip


def drawn(scan: Any, seed: int, number: int) -> Any:
    """The mask that a seed and a number stand for; both are written in its first elements."""
    import numpy as np

    mask = np.random.default_rng([seed, number]).integers(0, 3, scan.spatial_shape).astype(np.uint8)
    flat = mask.reshape(-1, *mask.shape[-2:])
    bits = (int(seed) << 16 | number) >> np.arange(48) & 1
    flat[:, :2, :24] = bits.reshape(2, 24)
    return mask


def written_in(mask: Any) -> tuple[int, int]:
    """Seed and number of a mask from `drawn`."""
    bits = mask.reshape(-1, *mask.shape[-2:])[0, :2, :24].ravel()
    value = sum(int(bit) << i for i, bit in enumerate(bits))
    return value >> 16, value & 0xFFFF


def classes() -> list[Any]:
    from napari_latentseg.core.classes import ClassInfo

    return [
        ClassInfo(label=1, name="vessel", color="#d62728"),
        ClassInfo(label=2, name="disc", color="#ffdd00"),
    ]


def warm_up() -> None:
    """Load every module that a store needs, so that the kills fall into the writing."""
    from napari_latentseg.annotations import AnnotationStore

    with tempfile.TemporaryDirectory() as folder, AnnotationStore(folder) as store:
        store.approve(image_of(0), drawn(image_of(0), 0, 0), classes=classes())


class Approving:
    """Approves planes of a few images, now and then takes one back."""

    name = "approving"
    shares = True

    def run(self, folder: Path, seed: int, report: Report) -> None:
        from napari_latentseg.annotations import AnnotationStore

        rng = random.Random(seed)
        images = [image_of(n) for n in range(9)]
        store = AnnotationStore(folder / "annotations")
        warm_up()
        report(ready=True)
        for number in range(1 << 16):
            which = rng.randrange(len(images))
            scan = images[which]
            count = int(scan.array.size // (scan.array.shape[-1] * scan.array.shape[-2]))
            planes = None if rng.random() < 0.2 else rng.sample(range(count), rng.randint(1, count))
            entry = store.approve(
                scan, drawn(scan, seed, number), classes=classes(), planes=planes,
                model=("tiny", "1", "0" * 64), edited=True,
            )  # fmt: skip
            report(approved=entry.id, image=which, number=number, planes=list(entry.planes))
            if rng.random() < 0.1:
                report(revoking=entry.id)
                store.revoke(entry)
                report(revoked=entry.id)

    def check(self, folder: Path, seed: int, reported: list[dict[str, Any]]) -> None:
        import numpy as np

        from napari_latentseg.annotations import AnnotationStore

        with AnnotationStore(folder / "annotations") as store:
            check_store(store)
            entries = {entry.id: entry for entry in store.approvals(revoked=True)}
            begun = {line["revoking"] for line in reported if "revoking" in line}
            ended = {line["revoked"] for line in reported if "revoked" in line}
            newest: dict[tuple[str, int], int] = {}
            for entry in store.approvals():
                for plane in entry.planes:
                    newest[entry.case, plane] = entry.id
            found = {case.name: (case.read_scan(), case.read_mask()) for case in store.annotated_cases()}
            for line in reported:
                if "approved" not in line:
                    continue
                entry = entries.get(line["approved"])
                assert entry is not None, f"approval {line['approved']} is lost"
                assert list(entry.planes) == line["planes"]
                assert not entry.revoked or entry.id in begun, f"approval {entry.id} was taken back by nobody"
                assert entry.revoked or entry.id not in ended, f"approval {entry.id} came back"
                scan = image_of(line["image"])
                wanted = drawn(scan, seed, line["number"]).reshape(-1, *scan.spatial_shape[-2:])
                mine = [plane for plane in entry.planes if newest.get((entry.case, plane)) == entry.id]
                for plane in mine:
                    has = found[entry.case][1][plane]
                    assert (has == wanted[plane]).all(), f"plane {plane} of approval {entry.id} is another"
                if mine:
                    stored, _ = found[entry.case]
                    assert np.array_equal(np.asarray(stored.array), np.asarray(scan.array)), (
                        "the image is another"
                    )
                    assert stored.geometry == scan.geometry, "the image lies elsewhere"


class Autosaving:
    """Saves work in progress, now and then discards it."""

    name = "autosaving"
    shares = True

    def run(self, folder: Path, seed: int, report: Report) -> None:
        from napari_latentseg.annotations import AnnotationStore

        rng = random.Random(seed)
        images = [image_of(n) for n in range(20, 26)]
        store = AnnotationStore(folder / "annotations")
        warm_up()
        report(ready=True)
        for number in range(1 << 16):
            which = rng.randrange(len(images))
            draft = store.save_draft(
                images[which], drawn(images[which], seed, number), classes=classes(),
                model=("tiny", "1", "0" * 64),
            )  # fmt: skip
            report(saved=draft.id, image=which + 20, number=number)
            if rng.random() < 0.1:
                report(discarding=draft.id)
                store.discard_draft(draft)

    def check(self, folder: Path, seed: int, reported: list[dict[str, Any]]) -> None:
        import numpy as np

        from napari_latentseg.annotations import AnnotationStore

        least: dict[str, tuple[int, int]] = {}
        for line in reported:
            if "saved" in line:
                least[line["saved"]] = (line["number"], line["image"])
            if "discarding" in line:
                least.pop(line["discarding"], None)
        with AnnotationStore(folder / "annotations") as store:
            check_store(store)
            drafts = {draft.id: draft for draft in store.drafts()}
            for id, (number, image) in least.items():
                assert id in drafts, f"a draft is lost: {id}"
                scan = image_of(image)
                found, mask = store.resume_draft(drafts[id])
                assert np.array_equal(np.asarray(found.array), np.asarray(scan.array)), "its image is another"
                assert written_in(mask)[0] == seed, "a draft is another process's"
                assert written_in(mask)[1] >= number, "a draft is older than what was reported"
                assert (mask == drawn(scan, *written_in(mask))).all(), "a draft is half one, half another"
                store.discard_draft(drafts[id])


def check_store(store: Any) -> None:
    """All hashes hold, and what nnU-Net reads is what was approved, read with nibabel alone."""
    import nibabel
    import numpy as np

    wrong = [finding for finding in store.verify() if finding.is_serious]
    assert not wrong, wrong
    assert not [note for note in store.notes if "damaged" in note], store.notes
    if not store.approvals():
        return
    about = json.loads((store.folder / "dataset.json").read_text("utf-8"))
    labels = {path.name.removesuffix(".nii.gz") for path in (store.folder / "labelsTr").iterdir()}
    images = {path.name.removesuffix("_0000.nii.gz") for path in (store.folder / "imagesTr").iterdir()}
    assert labels == images, (labels, images)
    assert len(labels) == about["numTraining"]
    for case in store.annotated_cases():
        scan = case.read_scan()
        times = scan.array.shape[0] if "t" in scan.axes else 0
        whole_mask = case.read_mask().reshape(scan.spatial_shape)
        for time_ in range(times) if times else [None]:
            name = case.name if time_ is None else f"{case.name}-t{time_:03d}"
            mask = whole_mask if time_ is None else whole_mask[time_]
            depth = mask.shape[0]
            approved = [z for z in range(depth) if z + (time_ or 0) * depth in case.annotated_slices]
            if not approved:
                assert name not in labels
                continue
            has = np.asarray(nibabel.load(store.folder / "labelsTr" / f"{name}.nii.gz").dataobj).transpose()
            wanted = np.full(mask.shape, about["labels"].get("ignore", 255))
            wanted[approved] = mask[approved]
            assert (has == wanted).all(), f"labelsTr/{name} is not what was approved"


class Checkpointing:
    """Writes the checkpoint of a training again and again."""

    name = "checkpointing"
    shares = False

    def run(self, folder: Path, seed: int, report: Report) -> None:
        import torch

        from napari_latentseg.training.checkpoint import Checkpoint
        from napari_latentseg.training.snapshot import Snapshot

        checkpoint = Checkpoint(folder / "model.checkpoint", interval_s=0)
        first = checkpoint.read().metadata["at"]["number"] + 1 if checkpoint.exists else 0
        report(ready=True)
        for number in range(first, first + (1 << 16)):
            checkpoint.write(Snapshot({"weights": torch.full((300_000,), float(number))}, {"number": number}))
            report(written=number)

    def check(self, folder: Path, seed: int, reported: list[dict[str, Any]]) -> None:
        from napari_latentseg.training.checkpoint import Checkpoint

        written = [line["written"] for line in reported if "written" in line]
        checkpoint = Checkpoint(folder / "model.checkpoint")
        if not written and not checkpoint.exists:
            return
        found = checkpoint.read()
        number = found.metadata["at"]["number"]
        assert not written or number >= written[-1], f"checkpoint {written[-1]} is lost"
        assert bool((found.tensors["weights"] == number).all()), "the tensors are of another checkpoint"


class Adopting:
    """Adopts candidates, keeps both, goes back, exports and installs."""

    name = "adopting"
    shares = True

    def run(self, folder: Path, seed: int, report: Report) -> None:
        from napari_latentseg.models.archive import export_model
        from napari_latentseg.models.candidates import adopt
        from napari_latentseg.models.install import install_folder
        from napari_latentseg.models.store import load_model
        from napari_latentseg.models.versions import list_versions, revert

        given = prepare_models(folder)
        load_model("tiny")
        rng = random.Random(seed)
        report(ready=True)
        for number in range(1 << 16):
            turn = rng.random()
            if turn < 0.6:
                place = adopt(given[rng.randrange(len(given))])
                report(adopted=place.name)
            elif turn < 0.8:
                chosen = rng.choice(list_versions("tiny")).version
                revert("tiny", chosen)
                report(reverted=chosen)
            elif turn < 0.9:
                export_model("tiny", folder / f"export-{seed}.zip")
                report(exported=f"export-{seed}.zip")
            else:
                install_folder(given[0], f"other-{seed}-{number}")
                report(installed=f"other-{seed}-{number}")

    def check(self, folder: Path, seed: int, reported: list[dict[str, Any]]) -> None:
        import zipfile

        from napari_latentseg.models.layout import WEIGHTS_FILE
        from napari_latentseg.models.store import load_model, model_folders
        from napari_latentseg.models.versions import list_versions

        given = prepare_models(folder)
        known = {load_model(path).card.files[WEIGHTS_FILE] for path in [*given, given[0].with_name("base")]}
        assert load_model("tiny").card.files[WEIGHTS_FILE] in known, "the name loads another model"
        versions = list_versions("tiny")
        assert sum(version.is_current for version in versions) == 1
        for version in versions:
            load_model(version.folder)
        for line in reported:
            if "adopted" in line:
                assert line["adopted"] in {v.version for v in versions}, f"version {line['adopted']} is lost"
            if "installed" in line:
                assert line["installed"] in model_folders(), f"{line['installed']} is lost"
            if "exported" in line:
                assert zipfile.ZipFile(folder / line["exported"]).testzip() is None
        for path in model_folders().values():
            load_model(path)


def prepare_models(folder: Path) -> list[Path]:
    """A store in the folder with a model `tiny` in it, and two that were taught from it; made once."""
    import os

    import torch

    from napari_latentseg.codecs.compact import CompactCodec
    from napari_latentseg.codecs.loading import weights_hash
    from napari_latentseg.codecs.spec import CodecSpec
    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.data.augmentation_config import AugmentationConfig
    from napari_latentseg.data.preprocess import Preprocess
    from napari_latentseg.methods.registry import build_method
    from napari_latentseg.models.card import Ancestor, ModelCard
    from napari_latentseg.models.folder import save_model_folder
    from napari_latentseg.models.install import install_folder
    from napari_latentseg.models.layout import COMPARISON_FILE, WEIGHTS_FILE
    from napari_latentseg.utils.weights import save_weights

    store = folder / "store"
    given = [store / "candidate-0", store / "candidate-1"]
    os.environ["NAPARI_LATENTSEG_HOME"] = str(store / "home")
    if store.exists():
        return given
    made = Path(tempfile.mkdtemp(dir=folder))  # two children may begin at once
    os.environ["NAPARI_LATENTSEG_HOME"] = str(made / "home")
    torch.manual_seed(0)
    codec = CompactCodec(8, (8, 8), (1, 1))
    place = made / "home" / "codecs" / "tiny-codec"
    place.mkdir(parents=True)
    save_weights(codec.state_dict(), place / "codec.safetensors")
    network = {"channels": 8, "widths": [8, 8], "blocks": [1, 1]}
    (place / "codec.json").write_text(json.dumps({"kind": "compact", "network": network}), "utf-8")
    method = build_method("gms", codec, {"width": 16})
    card = ModelCard(
        name="tiny",
        title="Tiny",
        method="gms",
        settings={"width": 16},
        codec=CodecSpec(kind="compact", name="tiny-codec", channels=8, sha256=weights_hash(place)),
        preprocess=Preprocess(size=64),
        augment=AugmentationConfig(),
        classes=(ClassInfo(label=1, name="vessel", color="#d62728"),),
        sources=("augment", "none"),
    )
    card = save_model_folder(made / "base", method, card)
    install_folder(made / "base")
    ancestor = Ancestor(name="tiny", version="1", sha256=card.files[WEIGHTS_FILE])
    for number in range(len(given)):
        with torch.no_grad():
            next(method.trainable_modules.parameters()).add_(1.0)
        taught = card.replace(name=f"taught-{number}", parent="tiny 1", lineage=(ancestor,))
        comparison = {COMPARISON_FILE: b'{"line": "Better"}'}
        save_model_folder(made / f"candidate-{number}", method, taught, comparison)
    with suppress(OSError):
        made.rename(store)
    shutil.rmtree(made, ignore_errors=True)
    os.environ["NAPARI_LATENTSEG_HOME"] = str(store / "home")
    return given


JOBS: dict[str, Job] = {job.name: job for job in (Approving(), Autosaving(), Checkpointing(), Adopting())}

"""Makes `made.tar.xz`: what the package wrote to disk at commit 7c12afb.

The files in it are kept because people have such files, and `test_legacy.py` holds today's code to them.
Run once, with the package of that commit first on the path, and never again with a later one::

    git worktree add /somewhere 7c12afb
    PYTHONPATH=/somewhere/src python tests/legacy/make.py

Every image is drawn here; none is anybody's. The weights of the base are rounded to few values, and
fine-tuning changes the last part of them alone, so that three models of 0.8 MB make an archive of less than
0.5 MB. Modules of the package are asked for by the names that they had then, as text, so that this script
stays as it was while they are moved.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ARCHIVE = Path(__file__).with_name("made.tar.xz")


def old(name: str) -> Any:
    """A module of the package, by the name that it had at commit 7c12afb."""
    return import_module(f"napari_latentseg.{name}")


def ellipse(
    rng: np.random.Generator, shape: tuple[int, int], *, dark: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse on a noisy ground, with its mask."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = rng.uniform(0.35, 0.65, 2) * shape
    a, b = rng.uniform(0.15, 0.3, 2) * shape
    mask = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
    image = np.clip(60 + 120 * mask + rng.normal(0, 12, shape), 0, 255).astype(np.uint8)
    return (255 - image if dark else image), mask.astype(np.uint8)


def write_pairs(folder: Path, count: int, seed: int, *, dark: bool = False) -> Path:
    """A folder of `images/` and `masks/`."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        image, mask = ellipse(rng, (32, 40), dark=dark)
        Image.fromarray(image).save(folder / "images" / f"case_{number}.png")
        Image.fromarray(255 * mask).save(folder / "masks" / f"case_{number}.png")
    return folder


def make_codec() -> None:
    """A compact codec of random weights, as `tests/conftest.py` makes it."""
    import torch

    network = {"channels": 8, "widths": (16, 16), "blocks": (1, 1)}
    torch.manual_seed(5)
    codec = old("codecs.compact").CompactCodec(**network)
    head = codec.decoder.head[0]
    with torch.no_grad():
        head.weight.mul_(2.0)
        head.bias.fill_(0.5)
    folder = old("models.store").home() / "codecs" / "tiny-codec"
    folder.mkdir(parents=True)
    (folder / "codec.json").write_text(json.dumps({"kind": "compact", "network": network}), "utf-8")
    old("weights").save_weights(codec.state_dict(), folder / "codec.safetensors")


def round_weights(folder: Path) -> None:
    """Leave each tensor a dozen values, and tell the card."""
    from safetensors.torch import load_file

    path, card = folder / "weights.safetensors", folder / "card.json"
    state = load_file(path)
    for name, values in state.items():
        if values.ndim > 1:
            step = float(values.float().std()) / 2
            state[name] = ((values.float() / step).round().clamp(-6, 6) * step).half()
    old("weights").save_weights(state, path)
    told = json.loads(card.read_text("utf-8"))
    told["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    card.write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def make_models(data: Path, corrected: Path) -> None:
    """An installed model, a second version of it in use, and a candidate nobody has decided on."""
    api, store = old("api"), old("models.store")
    codec, spec = store.open_codec("tiny-codec")
    config = old("training.config").TrainingConfig.model_validate(
        {
            "settings": {"width": 16, "levels": ["out"], "conditioner": "trained"},
            "preprocess": {"mode": "whole", "size": 32},
            "split": {"fraction": 0.25},
            "epochs": 12,
            "batch_size": 4,
            "warmup_epochs": 0,
            "schedule_by": "step",
            "card": {"title": "Ellipses", "class_name": "ellipse"},
        }
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "ellipses"
        list(old("training.job").TrainingJob(data, folder, config, codec, spec, device="cpu"))
        round_weights(folder)
        api.install_model(folder)
    job = old("training.finetune").FineTuneJob
    for name in ("ellipses-tuned", "ellipses-waiting"):
        made = job("ellipses", corrected, minutes=1.0, device="cpu", steps=20, name=name)
        list(made)
        if name == "ellipses-tuned":
            api.adopt_model(name)


def make_scans(folder: Path) -> None:
    """A grey photo, and a volume of thick slices that lies askew in the patient."""
    folder.mkdir()
    rng = np.random.default_rng(21)
    Image.fromarray(ellipse(rng, (32, 40))[0]).save(folder / "photo.png")
    volume = np.stack([ellipse(rng, (32, 36))[0] for _ in range(4)]).astype(np.int16) * 5 - 200
    matrix = np.diag([5.0, 0.5, 0.5, 1.0])
    matrix[:3, 3] = (-40.0, 12.5, 30.25)
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    matrix[:3, :3] = turn @ matrix[:3, :3]
    scan = old("scan")
    place = scan.Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS")
    old("formats.convert").write_scan(scan.Scan(volume, "zyx", place), folder / "volume.nii.gz")


def make_store(scans: Path) -> None:
    """Two approved cases, a photo and a volume, an approval that was taken back, and a draft of each."""
    read = old("formats").read_scan
    photo, volume = read(scans / "photo.png"), read(scans / "volume.nii.gz")
    card = old("models.card").read_card(old("models.store").find_model("ellipses"))
    model = (card.name, card.version, card.files["weights.safetensors"])
    flat = (np.asarray(photo.array) > 120).astype(np.uint8)
    deep = (np.asarray(volume.array) > 400).astype(np.uint8)
    with old("annotations").AnnotationStore.for_model("ellipses") as store:
        store.approve(photo, flat, classes=card.classes, model=model, edited=True)
        store.approve(volume, deep, classes=card.classes, model=model, planes=[0, 1])
        store.approve(volume, 1 - deep, classes=card.classes, planes=[1, 2], edited=True)
        store.revoke(store.approve(volume, 1 - deep, classes=card.classes, planes=[3]))
        for scan, mask in ((photo, flat), (volume, deep)):
            draft = mask.copy()
            draft[..., :8, :8] = 1
            store.autosave(scan, draft, classes=card.classes, model=model)


def make_results(scans: Path, results: Path) -> dict[str, Any]:
    """What `segment` wrote: of the volume as NIfTI, of the photo as TIFF; and what was in memory."""
    api, write = old("api"), old("formats.results").write_segmentation
    told = {}
    for name, form in (("volume.nii.gz", None), ("photo.png", "ome-tiff")):
        folder = results / name.split(".", maxsplit=1)[0]
        found = api.segment(scans / name, "ellipses", samples=4, source="augment", seed=3, device="cpu")
        write(found, folder, folder.name, format=form)
        told[folder.name] = {
            "axes": found.axes,
            "affine": found.geometry.affine,
            "units": found.geometry.units,
            "frame": found.geometry.frame,
            "volumes": np.asarray(found.volumes).tolist(),
            **{
                part: {
                    "dtype": getattr(found, part).dtype.str,
                    "shape": getattr(found, part).shape,
                    "sha256": hashlib.sha256(np.ascontiguousarray(getattr(found, part)).data).hexdigest(),
                    "sum": float(getattr(found, part).sum(dtype=np.float64)),
                }
                for part in ("mask", "mean", "variance")
            },
        }
    return told


def store_told() -> dict[str, Any]:
    """What the store says of itself."""
    with old("annotations").AnnotationStore.for_model("ellipses") as store:
        return {
            "entries": [
                [e.id, e.case, sorted(e.planes), e.edited, e.revoked] for e in store.entries(revoked=True)
            ],
            "cases": [[c.name, c.key, c.axes, list(c.shape), list(c.planes)] for c in store.cases()],
            "masks": [[e.case, hashlib.sha256(e.mask.data).hexdigest()] for e in store.examples()],
            "drafts": sorted(d.case for d in store.drafts()),
        }


def pack(folder: Path) -> None:
    """One archive, with nothing in it of this machine or this day."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 0
        return info

    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        archive.add(folder, arcname=".", filter=plain)


def main() -> None:
    """Make all of it anew."""
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        os.environ["NAPARI_LATENTSEG_HOME"] = str(made / "home")
        data = write_pairs(made / "data", 8, seed=0)
        corrected = write_pairs(made / "corrected", 6, seed=5, dark=True)
        make_codec()
        make_models(data, corrected)
        make_scans(made / "scans")
        make_store(made / "scans")
        told = {"results": make_results(made / "scans", made / "results"), "store": store_told()}
        (made / "told.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
        pack(made)


if __name__ == "__main__":
    main()

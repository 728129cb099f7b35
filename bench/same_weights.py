"""Whether two checkouts train the same weights, bit for bit: run it in each, and compare the output.

    PYTHONPATH=src python bench/same_weights.py > after.txt
    PYTHONPATH=../before/src python bench/same_weights.py > before.txt
    diff before.txt after.txt

Every kind of training runs for some steps on tiny networks and synthetic images: each method with its stages,
gradient accumulation, clipping, both averages of the weights, both schedules and ways of selection;
fine-tuning with replay; the codec. Values that differ between runs (seconds) are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

CODEC = {"channels": 8, "widths": (16, 16), "blocks": (1, 1)}
COMMON = {
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.25},
    "epochs": 3,
    "batch_size": 3,
    "warmup_epochs": 1,
    "learning_rate": 4e-3,
    "card": {"title": "Ellipses", "class_name": "ellipse", "default_samples": 2},
}
GMS = {"settings": {"width": 16, "levels": ["out"], "conditioner": "trained"}}
AUTOENCODER = {"widths": [8, 8, 8], "layers_per_block": 1, "codes": 16, "norm_groups": 4}
UNET = {"widths": [8, 16], "attention": [False, True], "layers_per_block": 1, "norm_groups": 4}
TRAININGS: dict[str, dict[str, Any]] = {
    "gms, by epoch, best": GMS,
    "gms, two members, accumulated, averaged, clipped": GMS
    | {"members": 2, "accumulate": 2, "ema_decay": 0.7, "clip_gradient": 1.0, "schedule_by": "step"},
    "gms, constant, average warms up, last": GMS
    | {"schedule": "constant", "schedule_by": "step", "ema_decay": 0.99, "ema_warmup": True}
    | {"select": "last"},
    "wave-gms": {"method": "wave-gms", "settings": {"width": 16, "levels": ["out"]}, "schedule_by": "step"},
    "sdseg": {
        "method": "sdseg",
        "settings": {"denoiser": UNET | {"heads": 2, "dropout": 0.1}, "prediction": "sample", "steps": 2},
        "ema_decay": 0.9, "ema_warmup": True, "clip_gradient": 0.5, "warmup_steps": 2, "schedule_by": "step",
        "validate_every": 2,
    },
    "medseglatdiff": {
        "method": "medseglatdiff", "codec": None,
        "settings": {"autoencoder": AUTOENCODER, "denoiser": UNET | {"head_width": 8}, "steps": 2},
        "schedule_by": "step", "ema_decay": 0.9, "clip_gradient": 1.0, "select": "last",
        "stages": {"autoencoders": {"epochs": 2, "learning_rate": 3e-3, "ema_decay": 0, "clip_gradient": 0}},
    },
}  # fmt: skip


def ellipses(folder: Path, count: int, seed: int, *, bright: bool = True) -> Path:
    """A folder of images/ and masks/, with one ellipse each on a noisy background."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:48, :64]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        y, x = rng.uniform(0.35, 0.65, 2) * (48, 64)
        a, b = rng.uniform(0.15, 0.3, 2) * (48, 64)
        mask = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
        image = np.clip(60 + 120 * mask + rng.normal(0, 12, mask.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image if bright else 255 - image).save(folder / "images" / f"{number}.png")
        Image.fromarray((255 * mask).astype(np.uint8)).save(folder / "masks" / f"{number}.png")
    return folder


def install_codec(home: Path) -> str:
    """A codec with random weights, whose decoded masks have both classes."""
    from napari_latentseg.codecs.compact import CompactCodec
    from napari_latentseg.utils.weights import save_weights

    torch.manual_seed(5)
    codec = CompactCodec(**CODEC)
    with torch.no_grad():
        codec.decoder.head[0].weight.mul_(2.0)
        codec.decoder.head[0].bias.fill_(0.5)
    folder = home / "codecs" / "tiny-codec"
    folder.mkdir(parents=True)
    (folder / "codec.json").write_text(json.dumps({"kind": "compact", "network": CODEC}))
    save_weights(codec.state_dict(), folder / "codec.safetensors")
    return folder.name


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def digest_of(folder: Path) -> str:
    """Hash of the weights of a model folder, and of the files beside them."""
    files = sorted(folder.glob("*.safetensors"))
    return " ".join(f"{p.name}={digest(p.read_bytes())}" for p in files)


def steady(event: Any) -> dict[str, Any]:
    """An event without the values that differ between runs."""
    known = event if isinstance(event, dict) else event.as_dict()
    known = json.loads(json.dumps(known))
    return {k: v for k, v in known.items() if k not in ("seconds", "left", "folder")}


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    torch.set_num_threads(1)  # one thread: the order of a parallel sum is not what is compared
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        os.environ["NAPARI_LATENTSEG_HOME"] = str(work / "home")
        codec = install_codec(work / "home")
        everything(work, codec)


def everything(work: Path, codec: str) -> None:
    from napari_latentseg import api

    data = ellipses(work / "data", 8, 0)
    for number, (kind, settings) in enumerate(TRAININGS.items()):
        config = COMMON | {"codec": codec} | settings
        path = work / f"config-{number}.json"
        path.write_text(json.dumps(config))
        events: list[dict[str, Any]] = []
        out = work / f"model-{number}"
        api.train(data, out, config=path, device="cpu", on_event=lambda e, to=events: to.append(steady(e)))
        print(f"{kind}: {digest_of(out)} events={digest(json.dumps(events, sort_keys=True).encode())}")
    new = ellipses(work / "new", 6, 5, bright=False)
    for kind, base, seed in (("gms", "model-0", 0), ("wave-gms", "model-3", 1), ("sdseg", "model-4", 2)):
        tell_finetuned(kind, work / base, new, work / f"tuned-{kind}", seed)
    tell_codec(work)


def tell_finetuned(kind: str, base: Path, data: Path, out: Path, seed: int) -> None:
    """Fine-tune for a fixed number of steps; how many fit into a time limit differs between runs."""
    try:
        from napari_latentseg.finetuning.job import FineTuneJob
    except ImportError:
        from napari_latentseg.training.finetune import FineTuneJob  # type: ignore[no-redef,import-not-found]

    job = FineTuneJob(base, data, out, device="cpu", steps=24, name=f"tuned-{kind}", seed=seed)
    events = [steady(event) for event in job]
    pictures = digest(json.dumps(events, sort_keys=True).encode())
    comparison = digest((out / "comparison.json").read_bytes())
    print(f"fine-tuned {kind}: {digest_of(out)} events={pictures} comparison={comparison}")


def tell_codec(work: Path) -> None:
    from napari_latentseg.training.train_codec import CodecConfig, read_codec_datasets, train_codec

    config = CodecConfig.model_validate(
        {"sources": [{"name": "data"}], "crop": 32, "images_per_batch": 3, "masks_per_batch": 2, "steps": 60}
        | CODEC
    )
    lines: list[Any] = []
    state = train_codec(
        config, read_codec_datasets(config, work), on_progress=lambda *line: lines.append(line)
    )
    content = b"".join(v.contiguous().numpy().tobytes() for v in state.values())
    print(f"codec: {digest(content)} report={digest(repr(lines).encode())}")


if __name__ == "__main__":
    main()

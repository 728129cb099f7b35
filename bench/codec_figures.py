"""Reconstruction error and speed of the embedded codec, on images that it was not trained on.

    python bench/codec_figures.py --data DATA [--codec FOLDER] [--json FILE]

Masks: mean Dice of the mask after encoding, decoding and a threshold of 0.5. Images: mean PSNR. Of busi and
chase_db1 the validation images of the codec's training are used, of kvasir_seg and ph2 all images, since
none was trained on. Speed: median time to encode and decode one image of 224 x 224 in float32 on the CPU,
alternating with diffusers' AutoencoderTiny in one run (with random weights, which do not change its speed).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.data.cases import rgb_slices
from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.resize import resize, resize_labels
from napari_latentseg.evaluation.metrics import dice, psnr
from napari_latentseg.models.store import embedded_codec
from napari_latentseg.training.train_codec import CodecConfig, read_codec_datasets

CONFIG = Path(__file__).parents[1] / "src/napari_latentseg/training/configs/codec-compact-1.json"
SIZES = {"busi": 224, "kvasir_seg": 224, "ph2": 224, "chase_db1": 512}


def planes_of(name: str, data: Path, config: CodecConfig) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and masks of a data set that the codec was not trained on."""
    known = {s.name: s for s in config.sources}
    if name in known:
        only = config.replace(sources=(known[name],))
        (source,) = read_codec_datasets(only, data)
        return [(source.images[i], source.masks[i]) for i in np.flatnonzero(source.is_validation)]
    return [(rgb_slices(p.read_scan())[0], p.read_mask()[0]) for p in find_cases(data / name)]


@torch.inference_mode()
def reconstruct(codec: Codec, name: str, data: Path, config: CodecConfig) -> dict[str, float]:
    size = SIZES[name]
    scores, worst, peaks = [], 1.0, []
    for image, labels in planes_of(name, data, config):
        mask = torch.from_numpy(resize_labels((labels > 0).astype(np.uint8), (size, size)))[
            None, None
        ].float()
        found = codec.decode_mask(codec.encode_mask(mask))
        scores.append(dice((found[0, 0] > 0.5).numpy(), mask[0, 0].numpy() > 0.5))
        channels = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / 255
        x = torch.from_numpy(resize(channels, (size, size)).clip(0, 1))[None]
        y = codec.decode(codec.encode(x)).clamp(0, 1)
        peaks.append(psnr(y[0].numpy(), x[0].numpy()))
    worst = min(scores)
    return {
        "images": len(scores),
        "size": size,
        "mask_dice": round(float(np.mean(scores)), 4),
        "worst_mask_dice": round(worst, 4),
        "psnr_db": round(float(np.mean(peaks)), 2),
    }


@torch.inference_mode()
def speed(codec: Codec, rounds: int = 25) -> dict[str, float]:
    tiny = AutoencoderTiny().eval()
    x = torch.rand(1, 3, 224, 224)
    ours, theirs = [], []
    for number in range(rounds + 3):
        start = time.perf_counter()
        codec.decode(codec.encode(x))
        middle = time.perf_counter()
        tiny.decode(tiny.encode(2 * x - 1).latents)
        end = time.perf_counter()
        if number >= 3:
            ours.append(middle - start)
            theirs.append(end - middle)
    return {
        "seconds": round(statistics.median(ours), 4),
        "autoencoder_tiny_seconds": round(statistics.median(theirs), 4),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 4),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--codec", type=Path, default=embedded_codec())
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config = CodecConfig.model_validate_json(CONFIG.read_text())
    codec = load_codec(args.codec)
    report: dict[str, object] = {name: reconstruct(codec, name, args.data, config) for name in SIZES}
    report["speed_224"] = speed(codec)
    text = json.dumps(report, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

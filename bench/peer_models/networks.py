"""Peers of MONAI's parts: two U-Nets and a diffusion of pixels.

They are trained on the same augmented batches as our model: MONAI's transforms of the same kind take three
times as long, and would leave its networks fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Protocol

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss
from monai.networks.nets import DiffusionModelUNet, UNet
from monai.networks.nets.flexible_unet import UNetDecoder
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_latentseg.core.scan import Scan
from napari_latentseg.data.resize import resize
from napari_latentseg.methods.base import Batch
from napari_latentseg.networks.efficientnet import EfficientNetLite
from napari_latentseg.training.batches import training_batches
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.loop import parameter_groups
from napari_latentseg.training.pretrained import load_pretrained_weights
from napari_latentseg.training.stored_slices import TrainingSlice
from peer_models.budget import CpuBudget, cosine_factor, fitting_batch
from peer_models.data import Images
from peer_models.scoring import Trained

PROBED_BATCH = 4
WEIGHT_DECAY = 0.01
PRETRAINED_RATE = 0.3  # of the learning rate, as in our configurations over the same backbone
DDIM_STEPS = 10
DIFFUSION_SAMPLES = 5


class Peer(Protocol):
    """A network with its loss.

    Attributes
    ----------
    network
        What is trained.
    learning_rate
        At its peak.
    pretrained
        Modules that began from published weights.
    """

    network: nn.Module
    learning_rate: float
    pretrained: tuple[nn.Module, ...]

    def loss(self, batch: Batch) -> Tensor: ...

    def probabilities(self, images: Tensor) -> Tensor:
        """`(B, K, H, W)` of images `(B, 3, H, W)` in [0, 1]."""


class Segmenter:
    """A network that gives the logits of each class; of several, with those of the background first."""

    learning_rate = 1e-3

    def __init__(self, network: nn.Module, classes: int, pretrained: tuple[nn.Module, ...] = ()) -> None:
        self.network, self.pretrained = network, pretrained
        self._is_binary = classes == 1
        # Dice over the batch, as nnU-Net's in 2D: of single slices, many lack a class
        if self._is_binary:
            self._loss = DiceCELoss(sigmoid=True, batch=True)
        else:
            self._loss = DiceCELoss(softmax=True, batch=True, include_background=False)

    def loss(self, batch: Batch) -> Tensor:
        masks = batch.masks
        if not self._is_binary:
            masks = torch.cat([1 - masks.amax(1, keepdim=True), masks], dim=1)
        loss: Tensor = self._loss(self.network(batch.images), masks)
        return loss

    def probabilities(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return logits.sigmoid() if self._is_binary else logits.softmax(1)[:, 1:]


class EfficientNetUNet(nn.Module):
    """The decoder of MONAI's FlexibleUNet, with its default settings, over EfficientNet-Lite0."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLite("efficientnet-lite0")
        load_pretrained_weights(self)  # type: ignore[arg-type]
        widths = (256, 128, 64, 32, 16)
        self.decoder = UNetDecoder(
            2, (3, self.encoder.half_channels, *self.encoder.channels), widths,
            act=("relu", {"inplace": True}), norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
            dropout=0.0, bias=False, upsample="nontrainable",
            pre_conv="default", interp_mode="nearest", align_corners=None, is_pad=True,
        )  # fmt: skip
        self.head = nn.Conv2d(widths[-1], outputs, 3, padding=1)

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        return {"efficientnet-lite0": self.encoder}

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder([images, *self.encoder.all_features(images)]))
        return logits


class PixelDiffusion:
    """Diffusion of the masks, with the image in further channels, as in MedSegDiff; the mask is predicted.

    The mean of five DDIM samples is the probability.
    """

    learning_rate = 5e-4
    pretrained = ()

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.network: nn.Module = DiffusionModelUNet(
            2, 3 + classes, classes, channels=(32, 64, 64, 64), attention_levels=(False, False, False, True),
            num_res_blocks=1, num_head_channels=32, norm_num_groups=32,
        )  # fmt: skip
        self._noising = DDPMScheduler(prediction_type="sample")
        self._sampling = DDIMScheduler(prediction_type="sample")
        self._sampling.set_timesteps(DDIM_STEPS)

    def loss(self, batch: Batch) -> Tensor:
        masks = 2 * batch.masks - 1
        times = torch.randint(self._noising.num_train_timesteps, (len(masks),))
        noisy = self._noising.add_noise(masks, torch.randn_like(masks), times)
        predicted = self.network(torch.cat([noisy, batch.images], dim=1), times)
        return nn.functional.mse_loss(predicted, masks)

    def probabilities(self, images: Tensor) -> Tensor:
        count, _, *size = images.shape
        images = images.repeat_interleave(DIFFUSION_SAMPLES, dim=0)
        x = torch.randn(len(images), self.classes, *size)
        for time in self._sampling.timesteps:
            times = torch.full((len(images),), int(time))
            x, _ = self._sampling.step(self.network(torch.cat([x, images], dim=1), times), int(time), x)
        samples = ((x + 1) / 2).clamp(0, 1)
        return samples.unflatten(0, (count, DIFFUSION_SAMPLES)).mean(dim=1)


def _unet(classes: int) -> Peer:
    outputs = classes + (classes > 1)
    # the shape of MONAI's tutorials, half as wide again, which are 14.6 M parameters
    network = UNet(2, 3, outputs, channels=(48, 96, 192, 384, 768), strides=(2, 2, 2, 2), num_res_units=2)
    return Segmenter(network, classes)


def _efficientnet_unet(classes: int) -> Peer:
    network = EfficientNetUNet(classes + (classes > 1))
    return Segmenter(network, classes, (network.encoder,))


MAKERS: dict[str, Callable[[int], Peer]] = {
    "unet": _unet,
    "efficientnet-unet": _efficientnet_unet,
    "diffusion": PixelDiffusion,
}


def train_network(name: str, images: Images, budget: CpuBudget, seed: int, work: Path) -> Trained:
    """Train one of `MAKERS` with AdamW, the rate following a cosine over the budget."""
    classes = len(images.classes)
    config = images.config
    torch.manual_seed(seed)
    per_image = _seconds_per_image(MAKERS[name](classes), images)
    batch = fitting_batch(budget.seconds, per_image, config.batch_size)
    torch.manual_seed(seed)
    peer = MAKERS[name](classes)
    optimizer = _optimizer(peer)
    batches = _endless(images.slices.train, config.replace(batch_size=batch), np.random.default_rng(seed))
    steps = 0
    while budget.is_left:
        with budget.counting():
            _step(peer, optimizer, next(batches), cosine_factor(budget.share))
        steps += 1
    peer.network.eval()

    def probabilities(scan: Scan) -> NDArray[np.float32]:
        return _segment(peer, scan, config)

    note = f"mean of {DIFFUSION_SAMPLES}, {DDIM_STEPS} DDIM steps" if name == "diffusion" else "one pass"
    trainable = sum(p.numel() for p in peer.network.parameters())
    return Trained(probabilities, trainable, steps, batch, note)


def _optimizer(peer: Peer) -> torch.optim.Optimizer:
    groups = parameter_groups(list(peer.network.parameters()), peer.pretrained, PRETRAINED_RATE)
    return torch.optim.AdamW(groups, peer.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)


def _step(peer: Peer, optimizer: torch.optim.Optimizer, batch: Batch, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = peer.learning_rate * factor * group["fraction"]
    optimizer.zero_grad(set_to_none=True)
    loss = peer.loss(batch)
    if not torch.isfinite(loss):
        raise RuntimeError("the loss is no longer a number")
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _seconds_per_image(peer: Peer, images: Images) -> float:
    """Processor seconds of a step for each of its images, augmentation included."""
    rng = np.random.default_rng(0)
    config = images.config.replace(batch_size=PROBED_BATCH)
    batches, optimizer = _endless(images.slices.train, config, rng), _optimizer(peer)
    _step(peer, optimizer, next(batches), 0.0)  # in the first step torch prepares its convolutions
    start = process_time()
    for batch in islice(batches, 2):
        _step(peer, optimizer, batch, 0.0)
    return (process_time() - start) / (2 * PROBED_BATCH)


def _endless(
    slices: list[TrainingSlice], config: TrainingConfig, rng: np.random.Generator
) -> Iterator[Batch]:
    while True:
        yield from training_batches(slices, config, rng)


@torch.inference_mode()
def _segment(peer: Peer, scan: Scan, config: TrainingConfig) -> NDArray[np.float32]:
    """Probabilities of a scan at its own size, from slices at working size."""
    planes = config.preprocess.planes(scan)
    torch.manual_seed(0)  # of the samples of a diffusion
    size = config.preprocess.size
    inferer = SlidingWindowInferer((size, size), sw_batch_size=4, overlap=0.25, mode="gaussian")
    results = []
    for plane in planes:
        height, width = plane.shape[:2]
        working = config.preprocess.working_size(height, width, planes.spacing)
        channels = resize(np.ascontiguousarray(plane.transpose(2, 0, 1)), working)
        image = torch.from_numpy(channels)[None]
        whole = working == (size, size)
        means = peer.probabilities(image) if whole else inferer(image, peer.probabilities)
        results.append(resize(np.ascontiguousarray(means[0].numpy()), (height, width)))
    stacked = np.stack(results, axis=1).clip(0, 1)
    return stacked.reshape(len(stacked), *scan.spatial_shape)

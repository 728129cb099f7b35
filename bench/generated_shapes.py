"""Generated images of shapes, from which a model learns to follow prompts whatever the image is.

    python bench/generated_shapes.py OUT --count 2000
    python bench/generated_shapes.py OUT --count 2000 --kind regions

Each image of `shapes` holds smooth shapes of any size, brightness, texture, blur and colour; a third of them
are nested. Each image of `regions` is tiled by regions that touch, as organs do, of which two are labelled.
Labels: 1 the rim of a nested shape, 2 its core, 3 a shape of one part. Random images in place of real ones as
in Billot et al., "SynthSeg", Medical Image Analysis 2023: what never repeats cannot be learned by heart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import io

SIZE = 160
RIM, CORE, PLAIN = 1, 2, 3
LEAST_CONTRAST = 0.1  # to neighbouring regions, of the range of brightness: what nobody sees cannot be taught
SMALLEST = 30  # pixels of a shape: a click on less tells nothing

Array = NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, sigma: float) -> Array:
    """Noise of unit deviation with structures of a size."""
    noise = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), sigma, mode="wrap")
    return np.asarray((noise - noise.mean()) / noise.std())


def texture(rng: np.random.Generator) -> Array:
    """Noise of unit deviation with fine, middle and coarse structures."""
    sizes = (rng.uniform(0.6, 1.5), rng.uniform(2, 5), rng.uniform(6, 20))
    mixed = sum((rng.uniform(0, 1) * smooth_noise(rng, size) for size in sizes), np.zeros((SIZE, SIZE)))
    return np.asarray(mixed / (mixed.std() + 1e-6))


def radial_field(rng: np.random.Generator, radius: float) -> Array:
    """Distance from the centre of a deformed ellipse, 1 at its edge."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(float)
    row, column = rng.uniform(0, SIZE, 2)
    angle = rng.uniform(0, np.pi)
    along = (rows - row) * np.cos(angle) + (columns - column) * np.sin(angle)
    across = (columns - column) * np.cos(angle) - (rows - row) * np.sin(angle)
    axes = radius * np.exp(rng.normal(0, 0.3, 2))
    bumps = rng.uniform(0, 0.2) * smooth_noise(rng, radius / 3 + 1)
    return np.asarray(np.hypot(along / axes[0], across / axes[1]) + bumps)


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask."""
    labels, count = ndimage.label(mask)
    return np.asarray(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])) if count else mask


def paint(image: Array, mask: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Give a region another brightness than its surroundings, and a texture and edge of its own."""
    soft = ndimage.gaussian_filter(mask.astype(float), rng.uniform(0.3, 2.0))
    ring = ndimage.binary_dilation(mask, iterations=4) & ~mask
    around = image[ring].mean() if ring.any() else image.mean()
    contrast = rng.choice([-1, 1]) * rng.uniform(0.12, 0.55)
    inside = around + contrast + rng.uniform(0, 0.35) * abs(contrast) * texture(rng)
    image += soft * (inside - image)


def generate(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image `(SIZE, SIZE, 3)` and its label map."""
    grey = rng.uniform(0, 1) + rng.uniform(0, 0.06) * texture(rng)
    grey += rng.uniform(0, 0.15) * smooth_noise(rng, 40)
    labels = np.zeros((SIZE, SIZE), np.uint8)
    taken = np.zeros((SIZE, SIZE), bool)
    for _ in range(rng.integers(3, 12)):
        radius = float(np.exp(rng.uniform(np.log(5), np.log(45))))
        field = radial_field(rng, radius)
        whole = largest_part(field < 1)
        if whole.sum() < SMALLEST or (whole & ndimage.binary_dilation(taken, iterations=2)).any():
            continue
        taken |= whole
        paint(grey, whole, rng)
        core = largest_part(whole & (field < rng.uniform(0.4, 0.75)))
        is_nested = rng.random() < 0.35 and core.sum() >= SMALLEST
        if is_nested:
            paint(grey, core, rng)
        if rng.random() < 0.8:  # the others are there and not meant
            labels[whole] = RIM if is_nested else PLAIN
            labels[core & is_nested] = CORE
    return colours(degrade(grey, rng), rng), labels


def tiles(rng: np.random.Generator) -> NDArray[np.int64]:
    """Regions that fill the image: cells around random points, with warped edges, some of them joined."""
    count = int(rng.integers(5, 26))
    points = rng.uniform(-20, SIZE + 20, (count, 2))
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(float)
    for field in (rows, columns):
        field += rng.uniform(2, 9) * smooth_noise(rng, rng.uniform(5, 14))
    distances = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    joined = np.where(rng.random(count) < 0.3, rng.integers(0, count, count), np.arange(count))
    return np.asarray(joined[distances.argmin(axis=-1)])


def stands_out(cells: NDArray[np.int64], cell: int, levels: Array) -> bool:
    """Whether a region differs in brightness from all that touch it."""
    mask = cells == cell
    neighbours = np.unique(cells[ndimage.binary_dilation(mask, iterations=2) & ~mask])
    return bool(np.all(np.abs(levels[neighbours] - levels[cell]) > LEAST_CONTRAST))


def generate_regions(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image `(SIZE, SIZE, 3)` of regions that touch, and its label map."""
    cells = tiles(rng)
    levels = rng.uniform(0, 1, cells.max() + 1)
    grey = np.zeros((SIZE, SIZE))
    for cell in np.unique(cells):
        mask = cells == cell
        grey[mask] = levels[cell] + (rng.uniform(0, 0.12) * texture(rng))[mask]
    labels = np.zeros((SIZE, SIZE), np.uint8)
    chosen = rng.permutation([cell for cell in np.unique(cells) if stands_out(cells, cell, levels)])
    for cell, is_nested in zip(chosen, (True, False)):  # noqa: B905  there may be fewer than two
        region = largest_part(cells == cell)
        if region.sum() < SMALLEST:
            continue
        labels[region] = PLAIN
        depth = ndimage.distance_transform_edt(region)
        core = largest_part(depth > rng.uniform(0.25, 0.6) * depth.max())
        if is_nested and core.sum() >= SMALLEST:
            contrast = rng.choice([-1, 1]) * rng.uniform(0.15, 0.6)
            grey[core] = levels[cell] + contrast + (rng.uniform(0, 0.12) * texture(rng))[core]
            labels[region] = RIM
            labels[core] = CORE
    grey = ndimage.gaussian_filter(grey, rng.uniform(0.3, 2.0))
    if rng.random() < 0.5:  # few voxels to an object, as in crops of nodules and in cardiac slices
        factor = rng.uniform(0.3, 0.7)
        coarse = ndimage.zoom(grey, factor, order=1)
        grey = ndimage.zoom(coarse, SIZE / np.array(coarse.shape), order=int(rng.choice([1, 3])))
    return colours(degrade(grey, rng), rng), labels


def degrade(grey: Array, rng: np.random.Generator) -> Array:
    """Blur, speckle and noise, as scanners have; in [0, 1]."""
    grey = ndimage.gaussian_filter(grey, rng.uniform(0, 1.2))
    if rng.random() < 0.4:
        speckle = smooth_noise(rng, rng.uniform(0.5, 1.2))
        grey = grey + rng.uniform(0.02, 0.12) * speckle * (0.3 + np.abs(grey))
    grey = grey + rng.uniform(0, 0.05) * rng.normal(size=grey.shape)
    low, high = np.percentile(grey, [0.5, 99.5])
    return np.asarray(np.clip((grey - low) / (high - low + 1e-6), 0, 1) ** np.exp(rng.normal(0, 0.3)))


def colours(grey: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey, or between two colours."""
    if rng.random() < 0.55:
        image = np.repeat(grey[..., None], 3, axis=2)
    else:
        first, second = rng.uniform(0, 0.5, 3), rng.uniform(0.4, 1, 3)
        image = first + (second - first) * grey[..., None]
        image = image + rng.uniform(0, 0.05) * smooth_noise(rng, 15)[..., None] * rng.uniform(-1, 1, 3)
    return np.asarray(np.clip(image, 0, 1) * 255, dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=["shapes", "regions"], default="shapes")
    given = parser.parse_args()
    for name in ("images", "masks"):
        (given.out / name).mkdir(parents=True, exist_ok=True)
    for number in range(given.count):
        draw = generate_regions if given.kind == "regions" else generate
        image, labels = draw(np.random.default_rng([given.seed, number]))
        for name, array in (("images", image), ("masks", labels)):
            io.imsave(given.out / name / f"shape_{number:05d}.png", array, check_contrast=False)


if __name__ == "__main__":
    main()

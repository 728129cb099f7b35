"""The probability maps of all samples of a run, compressed in memory.

They give masks and volumes of each sample at any threshold without running the model again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.labels import count_voxels, labels_from_probabilities

__all__ = ["SampleMaps"]

_ZLIB_LEVEL = 1  # the fastest: most of a slice is 0 or 1, which shrinks to almost nothing even so
_QUANTIZATION_STEPS = 255
_DEQUANTIZED: NDArray[np.float32] = (np.arange(_QUANTIZATION_STEPS + 1) / _QUANTIZATION_STEPS).astype(
    np.float32
)


class SampleMaps:
    """The probability maps of the samples, rounded to 1/255 and compressed slice by slice.

    Parameters
    ----------
    class_count
        K, the number of classes.
    plane_count
        N, the number of slices.
    plane_shape
        Height H and width W of a slice.
    max_bytes
        Size limit of the compressed maps. Once it would be exceeded, all maps are discarded and no more are
        kept.
    leading
        Lengths of the axes before those of a slice: by default ``(plane_count,)``; ``()`` for a single image.
    box
        Rows and columns of the region of interest: top, left, bottom, right, half-open. Maps that are added
        have its size; outside, probabilities are zero. None for whole slices.
    """

    def __init__(
        self,
        class_count: int,
        plane_count: int,
        plane_shape: tuple[int, int],
        max_bytes: int,
        *,
        leading: tuple[int, ...] | None = None,
        box: tuple[int, int, int, int] | None = None,
    ) -> None:
        self.class_count = class_count
        self.plane_shape = plane_shape
        self._leading = (plane_count,) if leading is None else leading
        top, left, bottom, right = box or (0, 0, *plane_shape)
        self._crop_slices = (slice(top, bottom), slice(left, right))
        self._crop_shape = (bottom - top, right - left)
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._compressed_planes: list[list[bytes]] = [[] for _ in range(plane_count)]
        self._is_complete = True
        self._known_counts: tuple[float, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._compressed_planes)

    @property
    def is_complete(self) -> bool:
        """Whether the maps of all samples are kept; False once they were discarded, then none are."""
        return self._is_complete

    @property
    def samples_per_plane(self) -> NDArray[np.int64]:
        """The number of samples of each slice, `(N,)`."""
        return np.array(
            [len(compressed_samples) for compressed_samples in self._compressed_planes], dtype=np.int64
        )

    @property
    def sample_count(self) -> int:
        """The number of samples that all slices with a result have in common."""
        counts = self.samples_per_plane
        return int(counts[counts > 0].min(initial=np.iinfo(np.int64).max)) if counts.any() else 0

    def add(self, plane: int, probabilities: NDArray[np.float32]) -> None:
        """Add the next sample of a slice: `(K, H, W)` in [0, 1], with a box of the size of the box."""
        if not self._is_complete:
            return
        quantized = np.rint(probabilities * _QUANTIZATION_STEPS).astype(np.uint8)
        compressed = zlib.compress(np.ascontiguousarray(quantized).data, _ZLIB_LEVEL)
        if self._used_bytes + len(compressed) > self._max_bytes:
            self.discard_all()
            return
        self._used_bytes += len(compressed)
        self._compressed_planes[plane].append(compressed)

    def discard_all(self) -> None:
        """Discard all maps; no more are kept from then on."""
        self._is_complete = False
        self._used_bytes = 0
        self._compressed_planes = [[] for _ in self._compressed_planes]

    def freeze(
        self, has_result: NDArray[np.bool_], threshold: float, voxel_counts: NDArray[np.int64]
    ) -> SampleMaps:
        """A snapshot for a result; maps added later are not in it.

        Parameters
        ----------
        has_result
            Which slices have a result, `(N,)`.
        threshold, voxel_counts
            The number of voxels of each class in each of the n samples that these slices have in common,
            `(n, K)`, at that threshold, counted before the probabilities were rounded.

        Returns
        -------
        SampleMaps
            It shares the compressed maps.
        """
        frozen = SampleMaps(
            self.class_count, len(self), self.plane_shape, self._max_bytes, leading=self._leading
        )
        frozen._crop_slices, frozen._crop_shape = self._crop_slices, self._crop_shape
        frozen._is_complete = self._is_complete
        frozen._known_counts = threshold, voxel_counts
        if self._is_complete:
            n = len(voxel_counts)
            frozen._compressed_planes = [
                compressed_samples[:n] if is_shown else []
                for compressed_samples, is_shown in zip(self._compressed_planes, has_result, strict=True)
            ]
            frozen._used_bytes = sum(
                len(compressed)
                for compressed_samples in frozen._compressed_planes
                for compressed in compressed_samples
            )
        return frozen

    def plane_samples(self, plane_number: int) -> NDArray[np.float32]:
        """The samples of a slice, float32 `(n, K, H, W)` in [0, 1]; zero outside the box."""
        probabilities = np.zeros((self.sample_count, self.class_count, *self.plane_shape), dtype=np.float32)
        for i, quantized in enumerate(self._quantized_plane(plane_number)):
            probabilities[(i, slice(None), *self._crop_slices)] = _DEQUANTIZED[quantized]
        return probabilities

    def sample(self, sample_index: int) -> NDArray[np.float32]:
        """One sample of all slices, float32 `(K, *spatial)` in [0, 1].

        Raises
        ------
        IndexError
            If there is no such sample; samples are counted from 0.
        """
        return _DEQUANTIZED[self._quantized_sample(sample_index)]

    def voxel_counts(self, threshold: float, classes: Sequence[ClassInfo]) -> NDArray[np.int64]:
        """The number of voxels of each class in each sample, `(n, K)`.

        At the threshold of the run these are exactly the numbers that the run counted.

        Parameters
        ----------
        threshold
            A voxel belongs to a class if its probability is above this.
        classes
            The K classes, in the order of the maps.
        """
        if self._known_counts is not None and threshold == self._known_counts[0]:
            return self._known_counts[1]
        descendants, quantized_threshold = class_descendants(classes), _quantized_threshold(threshold)
        counts = np.zeros((self.sample_count, self.class_count), dtype=np.int64)
        for number in range(len(self)):
            for i, quantized in enumerate(self._quantized_plane(number)):
                counts[i] += count_voxels(quantized, quantized_threshold, descendants)
        return counts

    def sample_masks(
        self, threshold: float, classes: Sequence[ClassInfo], crop_slices: tuple[slice, ...] = ()
    ) -> Iterator[NDArray[np.uint8]]:
        """Iterate over the label maps of the samples, each uint8 `(*spatial)`.

        Parameters
        ----------
        threshold, classes
            As for `voxel_counts`.
        crop_slices
            Part of the volume, one slice for each axis; the whole by default.
        """
        for i in range(self.sample_count):
            quantized = self._quantized_sample(i)[(slice(None), *crop_slices)]
            yield labels_from_probabilities(quantized, _quantized_threshold(threshold), classes)

    def transpose(self, order: Sequence[int]) -> SampleMaps:
        """The same samples with their axes permuted; recompressed when a slice is first asked for.

        Parameters
        ----------
        order
            Axis i of the result is axis ``order[i]`` of this one.
        """
        return self if list(order) == list(range(len(order))) else _TransposedSampleMaps(self, tuple(order))

    def _quantized_plane(self, number: int) -> Iterator[NDArray[np.uint8]]:
        """The common samples of a slice, each uint8 `(K, h, w)` of the box."""
        for compressed in self._compressed_planes[number][: self.sample_count]:
            yield np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(
                self.class_count, *self._crop_shape
            )

    def _quantized_sample(self, i: int) -> NDArray[np.uint8]:
        """One sample of all slices, uint8 `(K, *spatial)`."""
        if not 0 <= i < self.sample_count:
            raise IndexError(f"sample {i} of {self.sample_count}")
        volume = np.zeros((self.class_count, len(self), *self.plane_shape), dtype=np.uint8)
        for number, compressed_samples in enumerate(self._compressed_planes):
            if compressed_samples:
                quantized = np.frombuffer(zlib.decompress(compressed_samples[i]), np.uint8)
                volume[(slice(None), number, *self._crop_slices)] = quantized.reshape(
                    self.class_count, *self._crop_shape
                )
        return volume.reshape(self.class_count, *self._leading, *self.plane_shape)


class _TransposedSampleMaps(SampleMaps):
    """Permuted axes: sliced along the new axis and recompressed when a slice is first asked for."""

    def __init__(self, source: SampleMaps, order: tuple[int, ...]) -> None:
        spatial = (*source._leading, *source.plane_shape)
        *leading, height, width = (spatial[i] for i in order)
        planes = int(np.prod(leading, dtype=int))
        super().__init__(
            source.class_count, planes, (height, width), source._max_bytes, leading=tuple(leading)
        )
        self._source: SampleMaps = source
        self._order = order
        self._transposed_planes: list[list[bytes]] | None = None
        self._lock = Lock()
        self._is_complete = source._is_complete

    @property
    def sample_count(self) -> int:
        return self._source.sample_count

    @property
    def samples_per_plane(self) -> NDArray[np.int64]:
        return np.full(len(self), self.sample_count, dtype=np.int64)

    def voxel_counts(self, threshold: float, classes: Sequence[ClassInfo]) -> NDArray[np.int64]:
        return self._source.voxel_counts(threshold, classes)  # the order of the axes does not matter

    def transpose(self, order: Sequence[int]) -> SampleMaps:
        return self._source.transpose([self._order[i] for i in order])

    def _quantized_sample(self, i: int) -> NDArray[np.uint8]:
        quantized = self._source._quantized_sample(i)
        return quantized.transpose(0, *(1 + axis for axis in self._order))

    def _quantized_plane(self, number: int) -> Iterator[NDArray[np.uint8]]:
        with self._lock:
            if self._transposed_planes is None:
                self._transposed_planes = [[] for _ in range(len(self))]
                for i in range(self.sample_count):
                    volume = self._quantized_sample(i).reshape(self.class_count, -1, *self.plane_shape)
                    for compressed_samples, quantized in zip(
                        self._transposed_planes, volume.swapaxes(0, 1), strict=True
                    ):
                        compressed_samples.append(
                            zlib.compress(np.ascontiguousarray(quantized).data, _ZLIB_LEVEL)
                        )
        for compressed in self._transposed_planes[number]:
            yield np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(
                self.class_count, *self.plane_shape
            )


def _quantized_threshold(threshold: float) -> int:
    """The largest of the 256 steps that is not above the threshold, compared as `sample` returns them."""
    return int(np.count_nonzero(np.float32(threshold) >= _DEQUANTIZED)) - 1

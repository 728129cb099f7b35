"""The probabilities of every sample of a run, small enough to keep."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.classes import ClassInfo, descendants
from napari_latentseg.cut import elements_of, mask_from

__all__ = ["SampleMaps"]

_LEVEL = 1  # of zlib: what is sure, most of a plane, shrinks to next to nothing already
_STEPS = 255
_VALUES: NDArray[np.float32] = (np.arange(_STEPS + 1) / _STEPS).astype(np.float32)


class SampleMaps:
    """Each sample's probabilities to 1/255, compressed plane by plane.

    Parameters
    ----------
    classes
        K.
    planes
        N, the number of planes.
    shape
        Height and width of a plane.
    limit
        Bytes; once they would be passed, all is dropped, and nothing is kept from then on.
    leading
        The lengths of the axes before those of a plane; ``(planes,)`` where not given, and ``()`` of a
        single plane that is not one of a stack.
    box
        Rows and columns that are worked on, half-open: top, left, bottom, right; what is added has their
        size, and what is given out is zero elsewhere. None for the whole plane.
    """

    def __init__(
        self,
        classes: int,
        planes: int,
        shape: tuple[int, int],
        limit: int,
        *,
        leading: tuple[int, ...] | None = None,
        box: tuple[int, int, int, int] | None = None,
    ) -> None:
        self.classes = classes
        self.shape = shape
        self._leading = (planes,) if leading is None else leading
        top, left, bottom, right = box or (0, 0, *shape)
        self._place = (slice(top, bottom), slice(left, right))
        self._size = (bottom - top, right - left)
        self._limit = limit
        self._bytes = 0
        self._planes: list[list[bytes]] = [[] for _ in range(planes)]
        self._is_complete = True
        self._known: tuple[float, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._planes)

    @property
    def is_complete(self) -> bool:
        """Whether every sample is here; once it is not, nothing is."""
        return self._is_complete

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many samples each plane has, `(N,)`."""
        return np.array([len(kept) for kept in self._planes], dtype=np.int64)

    @property
    def samples(self) -> int:
        """How many samples all planes have that have any."""
        counts = self.counts
        return int(counts[counts > 0].min(initial=np.iinfo(np.int64).max)) if counts.any() else 0

    def add(self, plane: int, probabilities: NDArray[np.float32]) -> None:
        """Take in the next sample of a plane: `(K, H, W)` in [0, 1], of a box no more than that."""
        if not self._is_complete:
            return
        codes = np.rint(probabilities * _STEPS).astype(np.uint8)
        packed = zlib.compress(np.ascontiguousarray(codes).data, _LEVEL)
        if self._bytes + len(packed) > self._limit:
            self.drop()
            return
        self._bytes += len(packed)
        self._planes[plane].append(packed)

    def drop(self) -> None:
        """Drop everything, for good."""
        self._is_complete = False
        self._bytes = 0
        self._planes = [[] for _ in self._planes]

    def settled(self, shown: NDArray[np.bool_], threshold: float, elements: NDArray[np.int64]) -> SampleMaps:
        """What belongs to a result; what is added from now on is not in it.

        Parameters
        ----------
        shown
            Which planes show something, `(N,)`.
        threshold, elements
            How many places lay above that threshold in each of the n samples that all these planes have,
            `(n, K)`, as it was counted before anything was rounded.
        """
        found = SampleMaps(self.classes, len(self), self.shape, self._limit, leading=self._leading)
        found._place, found._size = self._place, self._size
        found._is_complete = self._is_complete
        found._known = threshold, elements
        if self._is_complete:
            n = len(elements)
            found._planes = [kept[:n] if s else [] for kept, s in zip(self._planes, shown, strict=True)]
            found._bytes = sum(len(one) for kept in found._planes for one in kept)
        return found

    def plane(self, number: int) -> NDArray[np.float32]:
        """The samples of a plane, `(n, K, H, W)` in [0, 1]; zeros where it holds no result."""
        found = np.zeros((self.samples, self.classes, *self.shape), dtype=np.float32)
        for i, codes in enumerate(self._codes(number)):
            found[(i, slice(None), *self._place)] = _VALUES[codes]
        return found

    def sample(self, i: int) -> NDArray[np.float32]:
        """One sample of all planes, `(K, *spatial)` in [0, 1].

        Raises
        ------
        IndexError
            Where there is no such sample.
        """
        return _VALUES[self._coded(i)]

    def elements(self, threshold: float, classes: Sequence[ClassInfo]) -> NDArray[np.int64]:
        """How many places belong to each class in each sample, `(n, K)`.

        At the run's own threshold they are those that the run counted.

        Parameters
        ----------
        threshold
            A place belongs to a class where its probability is above this.
        classes
            K of them, in their order.
        """
        if self._known is not None and threshold == self._known[0]:
            return self._known[1]
        inside, cut = descendants(classes), _code_below(threshold)
        found = np.zeros((self.samples, self.classes), dtype=np.int64)
        for number in range(len(self)):
            for i, codes in enumerate(self._codes(number)):
                found[i] += elements_of(codes, cut, inside)
        return found

    def masks(
        self, threshold: float, classes: Sequence[ClassInfo], place: tuple[slice, ...] = ()
    ) -> Iterator[NDArray[np.uint8]]:
        """The class labels of one sample after another, `spatial`.

        Parameters
        ----------
        threshold, classes
            As for `elements`.
        place
            Which part of it, a slice for each axis; all where not given.
        """
        for i in range(self.samples):
            codes = self._coded(i)[(slice(None), *place)]
            yield mask_from(codes, _code_below(threshold), classes)

    def turned(self, order: Sequence[int]) -> SampleMaps:
        """The same samples with their axes in another order; laid out anew when a plane is first asked for.

        Parameters
        ----------
        order
            Axis i of what is given out is axis ``order[i]`` here.
        """
        return self if list(order) == list(range(len(order))) else _Turned(self, tuple(order))

    def _codes(self, number: int) -> Iterator[NDArray[np.uint8]]:
        """The common samples of a plane, `(K, h, w)` each, of the box alone."""
        for packed in self._planes[number][: self.samples]:
            yield np.frombuffer(zlib.decompress(packed), np.uint8).reshape(self.classes, *self._size)

    def _coded(self, i: int) -> NDArray[np.uint8]:
        """One sample of all planes, `(K, *spatial)`."""
        if not 0 <= i < self.samples:
            raise IndexError(f"sample {i} of {self.samples}")
        found = np.zeros((self.classes, len(self), *self.shape), dtype=np.uint8)
        for number, kept in enumerate(self._planes):
            if kept:
                codes = np.frombuffer(zlib.decompress(kept[i]), np.uint8)
                found[(slice(None), number, *self._place)] = codes.reshape(self.classes, *self._size)
        return found.reshape(self.classes, *self._leading, *self.shape)


class _Turned(SampleMaps):
    """Another order of axes: cut into planes the other way when that is first wanted."""

    def __init__(self, source: SampleMaps, order: tuple[int, ...]) -> None:
        spatial = (*source._leading, *source.shape)
        *leading, height, width = (spatial[i] for i in order)
        planes = int(np.prod(leading, dtype=int))
        super().__init__(source.classes, planes, (height, width), source._limit, leading=tuple(leading))
        self._source: SampleMaps = source
        self._order = order
        self._laid: list[list[bytes]] | None = None
        self._lock = Lock()
        self._is_complete = source._is_complete

    @property
    def samples(self) -> int:
        return self._source.samples

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.full(len(self), self.samples, dtype=np.int64)

    def elements(self, threshold: float, classes: Sequence[ClassInfo]) -> NDArray[np.int64]:
        return self._source.elements(threshold, classes)  # the same places, whatever their order

    def turned(self, order: Sequence[int]) -> SampleMaps:
        return self._source.turned([self._order[i] for i in order])

    def _coded(self, i: int) -> NDArray[np.uint8]:
        found = self._source._coded(i)
        return found.transpose(0, *(1 + axis for axis in self._order))

    def _codes(self, number: int) -> Iterator[NDArray[np.uint8]]:
        with self._lock:
            if self._laid is None:
                self._laid = [[] for _ in range(len(self))]
                for i in range(self.samples):
                    whole = self._coded(i).reshape(self.classes, -1, *self.shape)
                    for kept, codes in zip(self._laid, whole.swapaxes(0, 1), strict=True):
                        kept.append(zlib.compress(np.ascontiguousarray(codes).data, _LEVEL))
        for packed in self._laid[number]:
            yield np.frombuffer(zlib.decompress(packed), np.uint8).reshape(self.classes, *self.shape)


def _code_below(threshold: float) -> int:
    """The last of the 256 steps that is not above a threshold, as `plane` and `sample` give them out."""
    return int(np.count_nonzero(np.float32(threshold) >= _VALUES)) - 1

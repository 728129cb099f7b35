"""What makes a model a variant of its paper: its method, and what the method sees of a scan."""

from __future__ import annotations

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.deviations import join_deviations

__all__ = ["variant_text"]


def variant_text(method: Method, preprocess: Preprocess) -> str:
    """What differs from the paper, in words, comma-separated; empty for the published method.

    Parameters
    ----------
    method
        The method on its codec.
    preprocess
        What it sees of a scan.
    """
    return join_deviations(
        (bool(method.deviations_from_paper), method.deviations_from_paper),
        (preprocess.neighbours is not None, "sees neighbouring slices"),
    )

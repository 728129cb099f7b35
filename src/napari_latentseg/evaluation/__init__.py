"""How good a segmentation is: overlap, distance between boundaries, and their summaries."""

from __future__ import annotations

from napari_latentseg.evaluation.metrics import CONVENTIONS, ImageScores, Summary, score, summarise

__all__ = ["CONVENTIONS", "ImageScores", "Summary", "score", "summarise"]

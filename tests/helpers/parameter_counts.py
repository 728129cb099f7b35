"""How large the parts of a method are."""

from __future__ import annotations

from napari_latentseg.methods.base import Method


def parameter_counts(method: Method) -> dict[str, int]:
    """The number of parameters of each trained part."""
    return {
        name: sum(p.numel() for p in part.parameters()) for name, part in method.trainable_modules.items()
    }

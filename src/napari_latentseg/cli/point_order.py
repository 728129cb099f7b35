"""The order in which a command line gives points inside and outside a structure."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

__all__ = ["CommandWithPoints", "point_order"]

_KEY = "napari_latentseg.point_order"
_INSIDE = {"--point": True, "--not": False}


class CommandWithPoints(TyperCommand):
    """A command that knows the order of its options ``--point`` and ``--not``.

    The values of an option come together, without their place among those of another.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note the order, and read the command line as any command does."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_KEY] = [
            _INSIDE[option] for parameter in given for option in parameter.opts if option in _INSIDE
        ]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


def point_order(context: typer.Context) -> list[bool]:
    """For each point of the command line, in their order, whether it is inside.

    Parameters
    ----------
    context
        Of a `CommandWithPoints`.
    """
    order: list[bool] = context.meta[_KEY]
    return order

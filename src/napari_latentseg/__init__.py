"""Segmentation with generative models in latent space, with an honest measure of uncertainty.

The public names stand in `__init__.pyi`, for type checkers and editors. Each is imported when it is first
used, so that importing the package loads neither torch nor Qt.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]

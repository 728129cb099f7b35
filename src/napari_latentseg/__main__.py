"""`python -m napari_latentseg`."""

from __future__ import annotations

import sys

from napari_latentseg.cli import main

sys.exit(main())

"""A segmentation on one page (HTML), for readers without napari.

- `write_report`: `make_report` and `write_report`, from a segmentation to the file.
- `page`: the values on the page; its layout is in `page.html.j2`, the reliability curve in `curve.svg.j2`.
- `explanation`: the paragraphs on how to read the page.
- `pictures`: image, outline and uncertainty of a slice, side by side.
"""

from __future__ import annotations

from napari_latentseg.report.write_report import (
    check_report,
    check_report_replaceable,
    make_report,
    write_report,
)

__all__ = ["check_report", "check_report_replaceable", "make_report", "write_report"]

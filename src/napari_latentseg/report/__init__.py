"""A result on one page, for somebody without napari."""

from __future__ import annotations

from napari_latentseg.report.write_report import check_report, make_report, write_report

__all__ = ["check_report", "make_report", "write_report"]

"""A result on one page, for somebody without napari."""

from __future__ import annotations

from napari_latentseg.report.writing import check_report, report_of, write_report

__all__ = ["check_report", "report_of", "write_report"]

"""The report of a study: one self-contained HTML file, read from the artifacts on disk."""

from naturalize.report.page import write_report

__all__ = ["write_report"]

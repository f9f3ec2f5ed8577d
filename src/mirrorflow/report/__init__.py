"""Tell: figures, tables and one HTML page, from records only."""

from mirrorflow.report.page import write_page

__all__ = ["write_page"]

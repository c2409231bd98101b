"""Results as tables on the terminal, plots and HTML pages."""

from __future__ import annotations

from hybrid_fast.reporting.report import write_report
from hybrid_fast.reporting.terminal import print_results

__all__ = ["print_results", "write_report"]

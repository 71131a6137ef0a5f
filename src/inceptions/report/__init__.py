"""Pages: one self-contained file each, which opens from disk, asks nothing of any network, and prints."""

from __future__ import annotations

from inceptions.report.run import write_report

__all__ = ["write_report"]

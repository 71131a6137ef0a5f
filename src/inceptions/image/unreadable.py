"""The one error of everything that reads images."""

from __future__ import annotations

from inceptions.errors import DataError


class UnreadableImage(DataError):  # noqa: N818 - it is a fact about an image, and reads like one
    """An image that cannot be decoded: `reason` says why, `file` which (None: it came as bytes or pixels)."""

    def __init__(self, reason: str, file: str | None = None) -> None:
        super().__init__(reason, file)
        self.reason = reason
        self.file = file

    def __str__(self) -> str:
        return self.reason if self.file is None else f"{self.file}: {self.reason}"

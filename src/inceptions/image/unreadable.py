"""The one error of everything that reads images."""

from __future__ import annotations

from inceptions.errors import DataError


class UnreadablePicture(DataError):  # noqa: N818 - it is a fact about a picture, and reads like one
    """A picture that cannot be decoded: `reason` says why, `file` which (None: it came as bytes or pixels)."""

    def __init__(self, reason: str, file: str | None = None) -> None:
        super().__init__(reason, file)
        self.reason = reason
        self.file = file

    def __str__(self) -> str:
        return self.reason if self.file is None else f"{self.file}: {self.reason}"

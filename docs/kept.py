"""Results that scripts keep as JSON, for the pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(file: Path, writer: str) -> dict[str, Any]:
    """What is kept in `file`. Raises `FileNotFoundError` naming the command that writes it."""
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there: run `{writer}`")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found

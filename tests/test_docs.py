"""The family's pages say what the networks are: made anew they are the same, and a changed network changes them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(DOCS)
    import build

    return build


@pytest.mark.slow
def test_pages_and_figures_are_what_make_docs_writes() -> None:
    run = subprocess.run([sys.executable, DOCS / "build.py", "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_page_of_a_small_network_is_what_make_docs_writes(build) -> None:  # type: ignore[no-untyped-def]
    text = (DOCS / "family" / "googlenet.md").read_text(encoding="utf-8")
    assert build.page(text) == text
    figure = DOCS / "family" / "figures" / "googlenet-inception_3a.svg"
    assert build.FIGURES["figures/googlenet-inception_3a.svg"] == figure.read_text(encoding="utf-8")


def test_one_changed_row_of_a_table_changes_its_page_and_its_figures(build, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    table = sys.modules["inceptions.zoo.googlenet"]
    rows = ((64, 96, 128, 16, 40, 32), *table.INCEPTION_3[1:])
    monkeypatch.setattr(table, "INCEPTION_3", rows)
    build.network.cache_clear()
    build.counted.cache_clear()
    text = (DOCS / "family" / "googlenet.md").read_text(encoding="utf-8")
    changed = build.page(text)
    build.network.cache_clear()
    build.counted.cache_clear()
    assert changed != text
    assert "| differs |" in changed
    assert "5x5, 40" in build.FIGURES["figures/googlenet-inception_3a.svg"]


def test_every_page_links_to_pages_and_figures_that_exist() -> None:
    for page in DOCS.glob("**/*.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"

"""The pages of inspect, explain and study, in a real browser: as quiet and as readable as a run's report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from browser import browsing
from inceptions.cli import main
from inceptions.image import Preprocess
from inceptions.report.study import study_page
from inceptions.studies.claims import STUDIES
from inceptions.studies.significance import estimate, paired_difference
from inceptions.studies.study import ArmResult, StudyResult
from inceptions.training import TrainConfig
from inceptions.weights import artifact
from inceptions.zoo import build

HOSTILE = "<img src=x onerror=alert(1)>"

pytestmark = pytest.mark.browser


def inspected(folder: Path) -> Path:
    net = build("inception_v3", width=0.05, num_classes=3)
    net.preprocess, net.classes = Preprocess(size=(96, 96), mean=(0.5,) * 3, std=(0.5,) * 3), ("a", "b", "c")
    artifact.save(net, folder / HOSTILE)
    assert main(["inspect", str(folder / HOSTILE), "--html"]) == 0
    return folder / f"inspect-{HOSTILE}.html"


def explained(folder: Path) -> Path:
    torch.manual_seed(0)
    net = build("googlenet", width=0.125, depth=0.2, stem="small", norm="batch", num_classes=2)
    net.preprocess = Preprocess(size=(48, 48), mean=(0.5,) * 3, std=(0.5,) * 3)
    net.classes = (HOSTILE, "b")
    artifact.save(net, folder / "model")
    image = folder / f"{HOSTILE}.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(image)
    words = ["explain", str(folder / "model"), str(image), "--branches", "--feature-maps", "--filters"]
    assert main([*words, "--target", HOSTILE, "--output", str(folder / "out")]) == 0
    return folder / "out" / "explained.html"


def studied(folder: Path) -> Path:
    study = STUDIES["batch_norm"]
    curves = {arm.name: {seed: (0.2, 0.3 + 0.1 * i + 0.01 * seed) for seed in range(3)}
              for i, arm in enumerate(study.arms)}  # fmt: skip
    first = [curve[-1] for curve in curves[study.arms[0].name].values()]
    arms = []
    for i, (name, runs) in enumerate(curves.items()):
        last = [curve[-1] for curve in runs.values()]
        difference = paired_difference(last, first) if i else None
        arms.append(
            ArmResult(
                name=name, curves=runs, diverged={}, parameters=1000 * i, multiply_adds=10, seconds=3.0,
                final=estimate(last), difference=difference, adjusted_p=difference.p if difference else None,
            )
        )  # fmt: skip
    base = TrainConfig(f"data/{HOSTILE}", model="bn_inception", output=folder)
    page = study_page(StudyResult(name="batch_norm", study=study, base=base, seeds=3, arms=tuple(arms), n=99), HOSTILE)
    (folder / "study.html").write_text(page)
    return folder / "study.html"


PAGES: dict[str, Callable[[Path], Path]] = {"inspect": inspected, "explain": explained, "study": studied}


@pytest.fixture(params=PAGES)
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    with browsing(PAGES[request.param](tmp_path)) as open_page:
        yield open_page


def test_names_are_shown_as_text_and_nothing_runs(opened: Any) -> None:
    page = opened()
    assert page.get_by_text(HOSTILE).first.is_visible()
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(opened: Any, scheme: str) -> None:
    page = opened(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(253, 253, 252)", "dark": "rgb(23, 25, 28)"}[scheme]


def test_every_sortable_column_sorts_both_ways(opened: Any) -> None:
    page = opened()
    for table in page.locator("table.sortable").all():
        for index, head in enumerate(table.locator("th").all()):
            button, numeric = head.get_by_role("button"), "number" in (head.get_attribute("class") or "")
            columns = []
            for way in ("ascending", "descending"):
                button.click()
                assert head.get_attribute("aria-sort") == way
                cells = table.locator(f"tbody td:nth-child({index + 1})").all()
                columns.append([cell.get_attribute("data-value") or cell.inner_text().strip() for cell in cells])
            up, down = ([float(cell) if numeric else cell for cell in column] for column in columns)
            assert down == up[::-1]
            assert not numeric or up == sorted(up)

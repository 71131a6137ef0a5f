"""The report of a run: the run's own numbers, whatever the names, in one file that asks nothing of anybody."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import browsing
from inceptions.cli import main
from inceptions.errors import DataError
from inceptions.report.charts import Series, chart, reliability, ticks
from inceptions.report.facts import Answer, Run, read_run
from inceptions.report.page import percent, plain, whole
from inceptions.report.run import GALLERY, _matrix, report, write_report
from inceptions.training import TrainConfig, train

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real run on noise, which leaves errors; one file is no image."""
    folder = tmp_path_factory.mktemp("report")
    draws = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 10)):
        for label in (HOSTILE, "dark & \"quoted\" 'class'", "bright"):
            (folder / "data" / split / label).mkdir(parents=True)
            for index in range(count):
                pixels = draws.integers(0, 256, (36, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / label / f"<b>{index}.png")
    (folder / "data" / "train" / "bright" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    train(
        TrainConfig(
            str(folder / "data"), output=folder / "run", model="googlenet", width=0.125, depth=0.1, stem="small",
            img_size=32, epochs=2, batch_size=8, workers=0, device="cpu", options={"norm": "batch"},
        )
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="session")
def run(finished: Path) -> Run:
    return read_run(finished)


@pytest.fixture(scope="session")
def page(run: Run) -> str:
    return report(run)


class Contents(HTMLParser):
    """Text, tags and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_headline_is_the_runs_own_accuracy_with_its_interval(run: Run, page: str) -> None:
    val = run.metrics["val"]
    text = Contents(page).text
    assert percent(val["top1"], 2) in page
    low, high = (percent(bound) for bound in val["top1_interval"])
    assert f"95 %: {low} to {high}".replace("\u00a0", " ") in text
    assert val["n"] == 30


def test_every_measure_is_told_with_its_interval_where_the_run_has_it(run: Run, page: str) -> None:
    val = run.metrics["val"]
    for key, show in (("loss", "{:.4f}".format), ("macro_f1", "{:.4f}".format), ("ece", percent)):
        low, high = val[f"{key}_interval"]
        assert f"({show(low)} to {show(high)})" in page


def test_what_it_was_trained_on_is_told_with_what_was_left_out(run: Run, page: str) -> None:
    text = Contents(page).text
    assert "37 images for training, 30 images for validation, 3 classes. The data itself says which" in text
    assert "train/bright/broken.png" in text
    assert run.sessions[0]["command"] in text
    assert run.sessions[0]["versions"]["torch"] in text
    assert "batch_size" in text


def test_the_page_asks_nothing_of_any_network(page: str) -> None:
    for tag, attributes in Contents(page).tags:
        for name in ("src", "href", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert "@import" not in page
    assert "url(" not in page


def test_names_are_text_whatever_they_look_like(page: str) -> None:
    contents = Contents(page)
    assert HOSTILE in contents.text
    assert not [attributes for tag, attributes in contents.tags if attributes.get("src") == "x"]
    assert not [attributes for _, attributes in contents.tags if any(name.startswith("on") for name in attributes)]
    assert "<b>0.png" in contents.text


def test_errors_come_most_confident_first_and_doubts_least_certain_first(run: Run, page: str) -> None:
    errors = sorted((answer for answer in run.answers if not answer.right), key=lambda answer: -answer.probability)
    shown = [int(match) for match in re.findall(r"(\d+) of \d+ errors", Contents(page).text)]
    assert shown == [min(GALLERY, len(errors))]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert len(captions) == shown[0] + GALLERY
    certain = [float(re.search(r"at ([\d.]+)", caption)[1]) for caption in captions]  # type: ignore[index]
    assert certain[: shown[0]] == sorted(certain[: shown[0]], reverse=True)
    assert certain[shown[0] :] == sorted(certain[shown[0] :])
    assert errors[0].file.split("/")[-1] in Contents(captions[0]).text


def test_every_shown_image_has_its_overlay(page: str) -> None:
    images = [attributes for tag, attributes in Contents(page).tags if tag == "img"]
    assert len(images) == 2 * len(re.findall("<figcaption>", page))
    assert images[0]["src"] != images[1]["src"]


def test_confusion_counts_every_answer(run: Run, page: str) -> None:
    matrix = page[page.index('<table class="matrix">') :]
    cells = re.findall(r'--share: [\d.]+">(\d*)</td>', matrix[: matrix.index("</table>")])
    assert len(cells) == 9
    assert sum(int(cell or 0) for cell in cells) == len(run.answers) == 30


def test_many_classes_are_drawn_instead(run: Run) -> None:
    names = tuple(f"class {index}" for index in range(30))
    data = dataclasses.replace(run.data, classes=names)
    answer = dataclasses.replace(run.answers[0], label=names[4], prediction=names[11])
    matrix = _matrix(dataclasses.replace(run, data=data, answers=[answer]))
    assert matrix["rows"] == []
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(matrix["image"].partition(",")[2]))))
    side = len(drawn) // 30
    assert (drawn[4 * side : 5 * side, 11 * side : 12 * side] == 0).all()
    assert (drawn == 255).sum() == drawn.size - side * side


def test_a_thousand_images_stay_below_five_megabytes(run: Run) -> None:
    many = report(dataclasses.replace(run, answers=run.answers * 34))
    assert len(many.encode()) < 5_000_000


def test_the_report_is_written_beside_the_run_or_where_asked(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": str(finished / "report.html")}
    assert (finished / "report.html").read_text().startswith("<!doctype html>")
    assert main(["report", str(finished), "--output", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").exists()


def test_an_unfinished_run_is_refused_in_words(finished: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    (copied / "predictions.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"predictions\.csv is missing"):
        write_report(copied)
    with pytest.raises(FileNotFoundError, match="not a finished run"):
        write_report(tmp_path / "nowhere")


def test_a_run_whose_images_were_moved_is_told_where_they_lie(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    (finished.parent / "data").rename(moved)
    try:
        assert main(["report", str(finished)]) == 3
        assert "which is gone: say where they lie now (--data)" in capsys.readouterr().err
        words = ["report", str(finished), "--data", str(moved), "--output", str(tmp_path / "page.html")]
        assert main(words) == 0
    finally:
        moved.rename(finished.parent / "data")
    assert (tmp_path / "page.html").read_text().count("<img") == len(re.findall("<img", report(read_run(finished))))


def test_answers_to_other_images_are_not_taken_for_the_runs_own(finished: Path, run: Run, tmp_path: Path) -> None:
    """`inceptions val RUN DATA` writes predictions.csv anew."""
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    other = tmp_path / "other" / "bright"
    other.mkdir(parents=True)
    shutil.copy(run.data.splits["val"].path(0), other / "elsewhere.png")
    assert main(["val", str(copied), str(other.parent)]) == 0
    assert "elsewhere.png" in (copied / "predictions.csv").read_text()
    again = read_run(copied).answers
    assert {(one.file, one.label, one.prediction) for one in again} == {
        (one.file, one.label, one.prediction) for one in run.answers
    }
    for one, own in zip(sorted(again, key=lambda a: a.file), sorted(run.answers, key=lambda a: a.file), strict=True):
        assert one.probability == pytest.approx(own.probability, abs=1e-6)


def test_answers_that_were_cut_off_are_not_taken_for_all(finished: Path, run: Run, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    lines = (copied / "predictions.csv").read_text().splitlines(keepends=True)
    (copied / "predictions.csv").write_text("".join(lines[:-7]))
    again = read_run(copied).answers
    assert {(one.file, one.prediction) for one in again} == {(one.file, one.prediction) for one in run.answers}


def test_a_head_that_was_fitted_has_no_curves_but_a_report(run: Run) -> None:
    fitted = [{"epoch": 1.0, "train_top1": 0.5, "val_top1": 0.4, "val_loss": 1.0}]
    for rows in ([], fitted):
        page = report(dataclasses.replace(run, rows=rows))
        assert "<h3>Accuracy</h3>" not in page
        assert "Class by class" in page


def test_a_damaged_run_is_refused_in_words(finished: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(finished, copied)
    (copied / "results.csv").write_text("epoch,lr\nfirst,0.1\n")
    with pytest.raises(DataError, match="damaged"):
        write_report(copied)


# --- charts and words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 1.0], [0, 0.2, 0.4, 0.6, 0.8, 1.0]), ([3.0, 97.0], [0, 20, 40, 60, 80, 100]), ([5.0, 5.0], [4.4, 5.6])],
)
def test_ticks_are_round_and_contain_the_values(values: list[float], expected: list[float]) -> None:
    found = ticks(values)
    assert found[0] <= min(values) <= max(values) <= found[-1]
    if values[0] != values[1]:
        assert found == pytest.approx(expected)


def test_epochs_are_counted_in_whole_numbers() -> None:
    assert ticks([1.0, 2.0], least=1.0) == [1.0, 2.0]


def points(drawing: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawing)]


def test_a_line_goes_up_where_its_values_do() -> None:
    (_, y1), (_, y2), (_, y3) = points(chart([Series(name="a", x=[1, 2, 3], y=[1, 3, 2])], x_title="x", y_title="y"))
    assert y2 < y3 < y1  # downwards on the screen


def test_what_is_not_finite_is_left_out() -> None:
    drawn = chart([Series(name="a", x=[1, 2, 3], y=[1, math.nan, 2])], x_title="x", y_title="y")
    assert len(points(drawn)) == 2
    assert "nan" not in drawn


def test_a_band_spans_its_interval() -> None:
    drawn = chart([Series(name="a", x=[1, 2], y=[2, 2], low=[1, 1], high=[3, 3])], x_title="x", y_title="y")
    assert 'class="band"' in drawn
    assert 'class="band"' not in chart([Series(name="a", x=[1, 2], y=[2, 2])], x_title="x", y_title="y")


def test_a_name_in_a_chart_is_text() -> None:
    drawn = chart([Series(name=HOSTILE, x=[1, 2], y=[1, 2])], x_title=HOSTILE, y_title="y")
    assert "<img" not in drawn
    assert "&lt;img" in drawn


def test_names_that_need_more_than_a_row_make_the_drawing_higher_and_stay_in_it() -> None:
    one, six = (
        chart([Series(name=f"{'long name ' * 2}{n}", x=[1, 2], y=[1, 2]) for n in range(count)], x_title="", y_title="")
        for count in (1, 6)
    )
    left, top, width, height = (float(n) for n in re.findall(r'viewBox="(.*?)"', six)[0].split())
    assert (top, top + height) == (-36, 260)  # three rows of two
    places = re.findall(r'<text x="([\d.]+)" y="[\d.]+">long', six)
    assert [float(x) for x in places] == [float(places[0]), float(places[1])] * 3
    assert all(left < float(x) + 130 < width for x in places)
    assert 'viewBox="0 0 ' in one


def test_reliability_draws_the_share_that_was_right() -> None:
    drawn = reliability([0.95] * 4 + [0.15] * 2, [True, True, True, False, False, True])
    assert "4 answers at 90% to 100%: 75.0% right (30.1% to 95.4%)" in drawn
    assert "2 answers at 10% to 20%: 50.0% right (9.5% to 90.5%)" in drawn
    assert drawn.count('class="whisker"') == 2
    assert drawn.count('class="bar"') == 2


def test_values_are_written_as_people_write_them() -> None:
    assert (percent(0.12345, 2), percent(None)) == ("12.35\u00a0%", "–")
    assert whole(1234567) == "1\u202f234\u202f567"
    assert [plain(value) for value in (None, True, 0.1, [1, "a"], {"a": 1}, {})] == [
        "–",
        "yes",
        "0.1",
        "1, a",
        "a 1",
        "–",
    ]
    assert plain("caf\udce9") == "caf\\xe9"


# --- in a browser -------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(finished: Path) -> Iterator[Any]:
    """Opens the report in Chromium."""
    write_report(finished)
    with browsing(finished / "report.html") as open_page:
        yield open_page


@pytest.mark.browser
def test_tables_sort_both_ways(opened: Any) -> None:
    page = opened()
    table = page.locator("#classes")

    def column(index: int) -> list[float]:
        cells = table.locator(f"tbody td:nth-child({index})")
        return [float(cell.get_attribute("data-value") or cell.inner_text()) for cell in cells.all()]

    button = table.locator("th", has_text="recall").get_by_role("button")
    button.click()
    assert column(5) == sorted(column(5))
    assert table.locator("th[aria-sort]").count() == 1
    button.click()
    assert column(5) == sorted(column(5), reverse=True)
    table.locator("th", has_text="class").get_by_role("button").click()
    assert table.locator("tbody td:first-child").all_inner_texts()[0] == HOSTILE


@pytest.mark.browser
def test_a_hostile_name_is_shown_as_text_and_nothing_runs(opened: Any) -> None:
    page = opened()
    assert page.locator("#classes").get_by_text(HOSTILE).first.is_visible()
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.browser
def test_it_fits_a_phone(opened: Any) -> None:
    page = opened(viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.browser
def test_it_follows_the_readers_light_and_dark(opened: Any) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme)
        found = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        shades[scheme] = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in found]
    assert shades["light"][0] > 700 > shades["light"][1]
    assert shades["dark"][0] < 120 < shades["dark"][1]


@pytest.mark.browser
def test_paper_is_light_and_shows_what_was_folded(opened: Any) -> None:
    page = opened(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 30, 33)"
    assert page.locator("details[open]").count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


@pytest.mark.browser
def test_every_image_is_there(opened: Any) -> None:
    page = opened()
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_answers_are_right_where_label_and_prediction_agree() -> None:
    answer = Answer(index=0, file="a", label="x", prediction="x", probability=0.5)
    assert answer.right
    assert not dataclasses.replace(answer, prediction="y").right

"""The family's pages say what the networks are: made anew they are the same, and a changed network changes them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inceptions.cli import main
from inceptions.studies.claims import STUDIES
from inceptions.training import TrainConfig
from inceptions.zoo import MEMBERS, googlenet
from inceptions.zoo.variants import with_rows
from tiny import write_images

DOCS = Path(__file__).parents[1] / "docs"
ENGLISH = sorted(page for page in (DOCS / "family").glob("*.md") if not page.name.endswith(".zh-CN.md"))


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    import build

    return build


@pytest.mark.slow
def test_pages_and_figures_are_what_make_docs_writes() -> None:
    run = subprocess.run([sys.executable, DOCS / "build.py", "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    import studies

    return studies


@pytest.mark.parametrize("page", ["googlenet.md", "googlenet.zh-CN.md"])
def test_a_page_of_a_small_network_is_what_make_docs_writes(build: ModuleType, page: str) -> None:
    file = DOCS / "family" / page
    text = file.read_text(encoding="utf-8")
    assert build.page(text, build.language(file)) == text
    figure = DOCS / "family" / "figures" / "googlenet-inception_3a.svg"
    assert build.FIGURES["figures/googlenet-inception_3a.svg"] == figure.read_text(encoding="utf-8")


def test_one_changed_row_of_a_table_changes_its_page_and_its_figures(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = MEMBERS["googlenet"]
    table = with_rows(member.table, {"inception_3a": googlenet.block(64, 96, 128, 16, 40, 32)})
    monkeypatch.setitem(MEMBERS, "googlenet", replace(member, table=table))
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


# --- two languages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_every_page_has_a_chinese_sister_with_the_same_blocks_and_sections(page: Path) -> None:
    sister = page.with_suffix(".zh-CN.md")
    texts = [file.read_text(encoding="utf-8") for file in (page, sister)]
    blocks, sections = ([re.findall(what, text, re.M) for text in texts] for what in (r"^<!-- g.*", "^#+ "))
    assert blocks[0]
    assert blocks[0] == blocks[1]
    assert sections[0] == sections[1]


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_a_page_leads_to_all_pages_of_its_language_and_to_its_sister(page: Path) -> None:
    for suffix, other in ((".md", ".zh-CN.md"), (".zh-CN.md", ".md")):
        links = re.findall(r"\]\(([^)]+\.md)\)", page.with_suffix(suffix).read_text(encoding="utf-8"))
        assert set(links) == {*(file.with_suffix(suffix).name for file in ENGLISH), page.with_suffix(other).name}


def test_in_chinese_pages_the_words_of_blocks_are_chinese(build: ModuleType) -> None:
    assert "| 选项 | 参数量 | 乘加次数 |" in build.against(build.chinese, "googlenet", "reduce=false")
    with pytest.raises(KeyError):
        build.chinese("a word that nobody has translated")


def test_every_arm_of_the_tour_has_a_chinese_name(build: ModuleType, studies: ModuleType) -> None:
    assert all(build.chinese(arm.name) for name in studies.OWN for arm in STUDIES[name].arms)


# --- studies ------------------------------------------------------------------------------------------------------


def test_every_study_is_on_a_page_of_the_tour(studies: ModuleType) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in ENGLISH)
    assert sorted(re.findall("<!-- generated: study (.*?) -->", pages)) == sorted(studies.OWN) == sorted(STUDIES)


def test_what_is_kept_of_a_study_is_of_its_present_settings(studies: ModuleType) -> None:
    for name in studies.OWN:
        kept = json.loads((DOCS / "studies" / f"{name}.json").read_text(encoding="utf-8"))
        assert kept["command"] == studies.command(name, kept["data"])
        assert [arm["name"] for arm in kept["arms"]] == [arm.name for arm in STUDIES[name].arms]
        assert kept["seeds"] == studies.SEEDS


def test_a_study_that_was_not_run_is_said_with_how_to_run_it(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys.modules["study_blocks"], "RESULTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"pooling.json is not there: run `python docs/studies.py .* pooling`"):
        build.page("<!-- generated: study pooling -->\n<!-- end -->")


def test_a_number_of_a_study_changes_its_page_and_its_figure(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = json.loads((DOCS / "studies" / "reduction.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(sys.modules["study_blocks"], "RESULTS", tmp_path)
    block, made = "<!-- generated: study reduction -->\n<!-- end -->", []
    for value in (0.5, 0.25):
        found["arms"][0]["top1"] = found["arms"][0]["curve"]["mean"][-1] = value
        (tmp_path / "reduction.json").write_text(json.dumps(found), encoding="utf-8")
        made.append((build.page(block), build.FIGURES["figures/study-reduction.svg"]))
    assert "| with reduction | 50.0 % (" in made[0][0]
    assert made[0][0] != made[1][0]
    assert made[0][1] != made[1][1]


def arm(**changes: Any) -> dict[str, Any]:
    """An arm that is three points better, significantly."""
    better = {
        "name": "naive", "top1": 0.63, "top1_interval": [0.62, 0.64], "runs": 3, "diverged": 0, "difference": 0.03,
        "difference_interval": [0.02, 0.04], "p": 0.01, "significant": True, "parameters": 10, "multiply_adds": 1000,
        "curve": {"mean": [0.5, 0.63], "low": [0.4, 0.62], "high": [0.6, 0.64]},
    }  # fmt: skip
    return better | changes


ONE_RUN = {
    "runs": 1, "diverged": 2, "top1_interval": [None, None], "difference_interval": [None, None], "p": 1.0,
    "significant": False,
}  # fmt: skip
NOTHING = {"top1": None, "top1_interval": None, "difference": None, "difference_interval": None, "p": None}


@pytest.mark.parametrize(
    ("changes", "english", "chinese"),
    [
        ({}, "| better |", "| 更好 |"),
        ({"difference": -0.03}, "| worse |", "| 更差 |"),
        ({"significant": False}, "| not significant at this budget |", "| 在此预算下不显著 |"),
        ({"runs": 2, "diverged": 1}, "| better (1 of 3 runs diverged) |", "| 更好（1 / 3 次发散） |"),
        (
            NOTHING | {"runs": 0, "diverged": 3, "curve": None, "parameters": None, "multiply_adds": None},
            "| naive |  |  |  | every run diverged |  |  |",
            "| 朴素模块 |  |  |  | 全部发散 |  |  |",
        ),
        (
            ONE_RUN,
            "| naive | 63.0 % | +3.0 | 1.000 | not significant at this budget (2 of 3 runs diverged) |",
            "| 朴素模块 | 63.0 % | +3.0 | 1.000 | 在此预算下不显著（2 / 3 次发散） |",
        ),
    ],
)
def test_a_verdict_says_no_more_than_the_numbers(
    build: ModuleType, changes: dict[str, Any], english: str, chinese: str
) -> None:
    found = {"seeds": 3, "arms": [arm(name="with reduction"), arm(**changes)]}
    blocks = sys.modules["study_blocks"]
    assert english in blocks.table(found, build.english)
    assert chinese in blocks.table(found, build.chinese)


def test_a_curve_has_its_interval_where_there_is_one_and_no_line_where_there_is_no_run(build: ModuleType) -> None:
    one_run = {"mean": [0.4, 0.5], "low": [None, None], "high": [None, None]}
    arms = [arm(), arm(name="ReLU", curve=one_run), arm(name="none", curve=None)]
    drawn = sys.modules["study_blocks"].curves({"arms": arms}, build.english)
    assert drawn.count('class="band"') == 1
    assert [name in drawn for name in ("naive", "ReLU", "none</text>")] == [True, True, False]
    assert drawn.startswith("<svg ")
    assert "prefers-color-scheme: dark" in drawn


@pytest.mark.parametrize("name", ["batch_norm", "factorisation"])
def test_the_command_of_a_study_asks_for_the_same_runs(
    studies: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[tuple[TrainConfig, int]] = []

    def conduct(name: str, base: TrainConfig, output: Path, *, seeds: int, study: object) -> None:
        asked.append((base, seeds))
        raise ValueError("enough")

    monkeypatch.setattr("inceptions.studies.study.conduct", conduct)
    main(shlex.split(studies.command(name, "flowers-96px"))[1:])
    ((base, seeds),) = asked
    assert base.replace(workers=0) == studies.base(name, "flowers-96px")  # reading processes change no result
    assert seeds == studies.SEEDS


def test_studies_are_run_and_kept_and_not_run_again(
    studies: ModuleType, build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = write_images(tmp_path / "flowers", size=40)
    for file in images.glob("*/*/*.png"):
        file.rename(file.with_suffix(".jpg"))
    small = {"width": 0.05, "depth": 0.2, "stem": "small", "img_size": 32, "epochs": 2, "batch_size": 8}
    monkeypatch.setattr(studies, "COMMON", studies.COMMON | small)
    monkeypatch.setattr(studies, "SEEDS", 2)
    for module in (studies, sys.modules["study_blocks"]):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "kept")
    monkeypatch.setattr(
        sys, "argv", ["studies.py", "auxiliary", "--data", str(images), "--output", str(tmp_path / "runs")]
    )
    assert studies.main() == 0
    kept = (tmp_path / "kept" / "auxiliary.json").read_text(encoding="utf-8")
    found = json.loads(kept)
    assert (found["n"], found["images"], found["seeds"], found["data"]) == (12, 42, 2, "flowers-96px")
    assert [len(arm["curve"]["mean"]) for arm in found["arms"]] == [2, 2]
    assert str(tmp_path) not in kept
    assert "| with auxiliary heads | " in build.study(build.english, "auxiliary")

    def again(config: TrainConfig) -> None:
        raise AssertionError(f"{config.output} was run again")

    monkeypatch.setattr("inceptions.studies.study.train", again)
    studies.main()
    assert (tmp_path / "kept" / "auxiliary.json").read_text(encoding="utf-8") == kept

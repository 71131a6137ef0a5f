"""Writes every number and figure of docs/family from the networks themselves and from docs/studies, and the READMEs'
results from bench/results: `make docs`.

A page is prose with blocks between `<!-- generated: WORD ARGUMENTS -->` and `<!-- end -->`; this program fills them, in
the page's language.
Run with --check it writes nothing and fails if a page or figure differs from what it would write.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import measured
import study_blocks
import torch
from figures import block_figure, network_figure
from papers import TABLES
from words import Say, chinese, english

from inceptions.anatomy import Cost, cost, receptive_fields
from inceptions.studies.claims import STUDIES
from inceptions.zoo import MEMBERS, Network, build

FAMILY = Path(__file__).parent / "family"
BLOCK = re.compile(
    r"(<!-- generated: (?P<word>\w+)(?P<arguments>[^>]*?) -->\n)(?P<content>.*?)(<!-- end -->)", re.DOTALL
)


@cache
def network(name: str, options: tuple[tuple[str, Any], ...] = ()) -> Network:
    """A network without weights."""
    with torch.device("meta"):
        return build(name, **dict(options))


@cache
def counted(name: str, options: tuple[tuple[str, Any], ...] = ()) -> Cost:
    """Its cost at its published input size."""
    return cost(network(name, options))


def heading(say: Say, names: str, rule: str) -> list[str]:
    """The first lines of a table with these columns."""
    return ["| " + " | ".join(say(name) for name in names.split(", ")) + " |", rule]


def stages(say: Say, name: str) -> str:
    """The network's table."""
    fields = receptive_fields(network(name))
    lines = heading(say, "stage, output, parameters, multiply-adds, receptive field", "|---|---|--:|--:|--:|")
    for row in counted(name).stages:
        seen = fields[row.name].size
        size = f"{row.height}x{row.width}x{row.channels}"
        lines.append(f"| {row.name} | {size} | {row.parameters:,} | {row.multiply_adds:,} | {seen[0]}x{seen[1]} |")
    whole = counted(name)
    lines.append(f"| **{say('all, with the head')}** | | **{whole.parameters:,}** | **{whole.multiply_adds:,}** | |")
    return "\n".join(lines)


def paper(say: Say, name: str) -> str:
    """The paper's table beside ours."""
    rows = {row.name: row for row in counted(name).stages}
    lines = heading(say, "paper, prints, ours ends with, gives, equal", "|---|---|---|---|---|")
    for what, size, stage in TABLES[name]:
        row = rows[stage]
        ours = f"{row.height}x{row.width}x{row.channels}"
        lines.append(f"| {what} | {size} | {stage} | {ours} | {'=' if ours == size else say('differs')} |")
    return "\n".join(lines)


def figure(say: Say, name: str, stage: str) -> str:
    """A block of the network, drawn."""
    layer = dict(network(name).table.stages)[stage]
    return _drawn(f"{name}: {stage}", f"{name}-{stage}", block_figure(layer, f"{name}: {stage}"))


def column(say: Say, name: str) -> str:
    """The whole network, drawn."""
    return _drawn(name, name, network_figure(network(name)))


def against(say: Say, name: str, *options: str) -> str:
    """What each option costs or saves: `against googlenet reduce=false five=3x3`."""
    from inceptions.zoo import parse_options

    plain = counted(name)
    lines = heading(say, "option, parameters, multiply-adds", "|---|--:|--:|")
    lines.append(f"| {say('as published')} | {plain.parameters:,} | {plain.multiply_adds:,} |")
    for option in options:
        key, _, value = option.partition("=")
        other = counted(name, tuple(parse_options({key: value}).items()))
        share = [
            f"{_signed(a / b - 1)}"
            for a, b in ((other.parameters, plain.parameters), (other.multiply_adds, plain.multiply_adds))
        ]
        lines.append(f"| `{option}` | {other.parameters:,} ({share[0]}) | {other.multiply_adds:,} ({share[1]}) |")
    return "\n".join(lines)


def family(say: Say) -> str:
    """The generations side by side."""
    columns = "network, paper, year, input, parameters, multiply-adds, sees at the end"
    lines = heading(say, columns, "|---|---|--:|--:|--:|--:|--:|")
    for name, member in MEMBERS.items():
        whole, seen = counted(name), list(receptive_fields(network(name)).values())[-1].size
        link = f"[{member.paper}](https://arxiv.org/abs/{member.paper})"
        lines.append(
            f"| `{name}` | {link} | {member.year} | {member.input_size} | {whole.parameters:,} "
            f"| {whole.multiply_adds:,} | {seen[0]} px |"
        )
    return "\n".join(lines)


def study(say: Say, name: str) -> str:
    """What a study found: its sentence, command, table and curves."""
    found = study_blocks.read(name)
    parts = (study_blocks.sentence(found, say), f"    {found['command']}", study_blocks.table(found, say))
    curves = study_blocks.curves(found, say)
    return "\n\n".join((*parts, _drawn(f"{name}: {say('validation top-1')}", say("study-{}").format(name), curves)))


def studies(say: Say) -> str:
    """What all studies found, a line a comparison."""
    return study_blocks.overview(STUDIES, say)


def _drawn(title: str, name: str, svg: str) -> str:
    """The link to a figure, which is kept to be written."""
    FIGURES[f"figures/{name}.svg"] = svg
    return f"![{title}](figures/{name}.svg)"


def _signed(share: float) -> str:
    return "0 %" if abs(share) < 5e-5 else f"{share:+.1%}".replace("%", " %")


WORDS: dict[str, Callable[..., str]] = {
    "stages": stages, "paper": paper, "figure": figure, "column": column, "against": against, "family": family,
    "study": study, "studies": studies, "accuracies": measured.accuracies, "speeds": measured.speeds,
    "exits": measured.exits,
}  # fmt: skip
FIGURES: dict[str, str] = {}
"""file -> SVG, filled while pages are made."""


def page(text: str, say: Say = english) -> str:
    """The page with its blocks filled anew, in its language."""

    def fill(block: re.Match[str]) -> str:
        made = WORDS[block["word"]](say, *block["arguments"].split())
        return f"{block[1]}{made}\n{block[5]}"

    return BLOCK.sub(fill, text)


def language(file: Path) -> Say:
    """Of a page, by its name."""
    return chinese if file.name.endswith(".zh-CN.md") else english


def main() -> int:
    """Write the pages and figures, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    checking = parser.parse_args().check
    pages = [*sorted(FAMILY.glob("*.md")), *sorted(FAMILY.parents[1].glob("README*.md"))]
    wanted = {file: page(file.read_text(encoding="utf-8"), language(file)) for file in pages}
    wanted |= {FAMILY / file: svg for file, svg in FIGURES.items()}
    stale = [file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    unused = [file for file in (FAMILY / "figures").glob("*.svg") if file not in wanted]
    for file in () if checking else stale:
        file.parent.mkdir(exist_ok=True)
        file.write_text(wanted[file], encoding="utf-8")
    for file in () if checking else unused:
        file.unlink()
    for file in (*stale, *unused):
        print(("differs: " if checking else "written: ") + str(file.relative_to(FAMILY.parents[1])))
    return 1 if checking and (stale or unused) else 0


if __name__ == "__main__":
    sys.exit(main())

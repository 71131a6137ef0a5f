"""Writes every number and figure of docs/family from the networks themselves: `make docs`.

A page is prose with blocks between `<!-- generated: WORD ARGUMENTS -->` and `<!-- end -->`; this program fills them.
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

import torch
from figures import block_figure, network_figure
from papers import TABLES

from inceptions.anatomy import Cost, cost, receptive_fields
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


def stages(name: str) -> str:
    """The network's table."""
    fields = receptive_fields(network(name))
    lines = ["| stage | output | parameters | multiply-adds | receptive field |", "|---|---|--:|--:|--:|"]
    for row in counted(name).stages:
        seen = fields[row.name].size
        size = f"{row.height}x{row.width}x{row.channels}"
        lines.append(f"| {row.name} | {size} | {row.parameters:,} | {row.multiply_adds:,} | {seen[0]}x{seen[1]} |")
    whole = counted(name)
    lines.append(f"| **all, with the head** | | **{whole.parameters:,}** | **{whole.multiply_adds:,}** | |")
    return "\n".join(lines)


def paper(name: str) -> str:
    """The paper's table beside ours."""
    rows = {row.name: row for row in counted(name).stages}
    lines = ["| paper | prints | ours ends with | gives | |", "|---|---|---|---|---|"]
    for what, size, stage in TABLES[name]:
        row = rows[stage]
        ours = f"{row.height}x{row.width}x{row.channels}"
        lines.append(f"| {what} | {size} | {stage} | {ours} | {'=' if ours == size else 'differs'} |")
    return "\n".join(lines)


def figure(name: str, stage: str) -> str:
    """A block of the network, drawn."""
    layer = dict(network(name).table.stages)[stage]
    file = f"figures/{name}-{stage}.svg"
    FIGURES[file] = block_figure(layer, f"{name}: {stage}")
    return f"![{name}: {stage}]({file})"


def column(name: str) -> str:
    """The whole network, drawn."""
    file = f"figures/{name}.svg"
    FIGURES[file] = network_figure(network(name))
    return f"![{name}]({file})"


def against(name: str, *options: str) -> str:
    """What each option costs or saves: `against googlenet reduce=false five=3x3`."""
    from inceptions.zoo import parse_options

    plain = counted(name)
    lines = ["| option | parameters | multiply-adds |", "|---|--:|--:|"]
    lines.append(f"| as published | {plain.parameters:,} | {plain.multiply_adds:,} |")
    for option in options:
        key, _, value = option.partition("=")
        other = counted(name, tuple(parse_options({key: value}).items()))
        share = [
            f"{_signed(a / b - 1)}"
            for a, b in ((other.parameters, plain.parameters), (other.multiply_adds, plain.multiply_adds))
        ]
        lines.append(f"| `{option}` | {other.parameters:,} ({share[0]}) | {other.multiply_adds:,} ({share[1]}) |")
    return "\n".join(lines)


def family() -> str:
    """The generations side by side."""
    lines = [
        "| network | paper | year | input | parameters | multiply-adds | sees at the end |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name, member in MEMBERS.items():
        whole, seen = counted(name), list(receptive_fields(network(name)).values())[-1].size
        link = f"[{member.paper}](https://arxiv.org/abs/{member.paper})"
        lines.append(
            f"| `{name}` | {link} | {member.year} | {member.input_size} | {whole.parameters:,} "
            f"| {whole.multiply_adds:,} | {seen[0]} px |"
        )
    return "\n".join(lines)


def _signed(share: float) -> str:
    return "0 %" if abs(share) < 5e-5 else f"{share:+.1%}".replace("%", " %")


WORDS: dict[str, Callable[..., str]] = {
    "stages": stages, "paper": paper, "figure": figure, "column": column, "against": against, "family": family,
}  # fmt: skip
FIGURES: dict[str, str] = {}
"""file -> SVG, filled while pages are made."""


def page(text: str) -> str:
    """The page with its blocks filled anew."""

    def fill(block: re.Match[str]) -> str:
        made = WORDS[block["word"]](*block["arguments"].split())
        return f"{block[1]}{made}\n{block[5]}"

    return BLOCK.sub(fill, text)


def main() -> int:
    """Write the pages and figures, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    checking = parser.parse_args().check
    wanted = {file: page(file.read_text(encoding="utf-8")) for file in sorted(FAMILY.glob("*.md"))}
    wanted |= {FAMILY / file: svg for file, svg in FIGURES.items()}
    stale = [file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    unused = [file for file in (FAMILY / "figures").glob("*.svg") if file not in wanted]
    for file in () if checking else stale:
        file.parent.mkdir(exist_ok=True)
        file.write_text(wanted[file], encoding="utf-8")
    for file in () if checking else unused:
        file.unlink()
    for file in (*stale, *unused):
        print(("differs: " if checking else "written: ") + str(file.relative_to(FAMILY.parent)))
    return 1 if checking and (stale or unused) else 0


if __name__ == "__main__":
    sys.exit(main())

"""`inceptions inspect`: a network stage by stage, or one stage layer by layer."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from csv import DictWriter
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptions.cli.terminal import print_json, table

if TYPE_CHECKING:
    from torch import nn

    from inceptions.anatomy.facts import Facts, Inspection


def inspect(
    model: str,
    /,
    *,
    img_size: int | None = None,
    stage: str | None = None,
    principles: bool = False,
    options: dict[str, str] | None = None,
    csv: Path | None = None,
    html: bool = False,
    weights_part: str | None = None,
    json: bool = False,
) -> None:
    """Show a network's stages: shapes, parameters, multiply-adds, receptive fields.

    A multiply-add is one multiplication with its addition, in convolutions and linear layers, for one image.
    Activations are the values that leave those layers; memory is what training keeps of an image until its gradient is
    known. A receptive field is the smallest rectangle of pixels around all that a unit sees - through branches and
    shortcuts it sees one rectangle a path, the smallest is reported too -, stride the pixels from one unit to the next,
    padding the border that the first unit sees.

    Args:
        model: a name of `inceptions models` or `inceptions weights list`, a folder (a run's, a model's, an export's), a
            weight file, or PACKAGE.MODULE:NAME of a module or a function that makes one, such as
            torchvision.models:resnet50 or a network around a table of your own.
        img_size: side of the image, px; none: the one it was trained with or published for.
        stage: show the blocks, branches and layers of this stage instead.
        principles: check the design principles of Inception v3 instead: what passes, what fails, and a suggestion.
        options: options of the network, such as `--options.width 0.5`, or arguments of the function.
        csv: write the table there too.
        html: write a page with all of it too, inspect-MODEL.html in the current folder.
        weights_part: of a weight file with several networks: model (as trained), ema (their average), or what the names
            begin with, such as teacher; none: the average where there is one.
        json: print one JSON object instead of the table.
    """
    from inceptions.anatomy.facts import Inspection
    from inceptions.anatomy.principles import Finding
    from inceptions.cli import UsageError

    if csv and not csv.parent.is_dir():
        raise UsageError(f"--csv {csv}: there is no folder {csv.parent}")
    found = Inspection(open_network(model, options or {}, part=weights_part), img_size)
    if stage is not None:
        facts = found.stage(stage)  # refuses a name that is none
    if principles:
        facts = found.principles(stage)
        rows = facts["principles"]
    elif stage is None:
        facts = found.whole()
        rows = [*facts["stages"], *_heads(facts)]
    else:
        rows = facts["parts"]
    if csv:
        _write_csv(csv, rows, [field.name for field in fields(Finding)] if principles else list(rows[0]))
    if html:
        _write_page(model, found)
    if json:
        print_json(facts)
    elif principles:
        _print_principles(rows)
    elif stage is None:
        _print_stages(facts, rows)
    else:
        _print_parts(facts)


def open_network(model: str, options: dict[str, str], *, weights: bool = False, part: str | None = None) -> nn.Module:
    """What `model` means, in evaluation mode.

    Without `weights`, with shapes alone where that is quicker.
    """
    import torch

    from inceptions.predict import load_network
    from inceptions.weights import artifact
    from inceptions.weights.catalogue import RECORDS
    from inceptions.zoo import build, parse_options

    path = Path(model)
    package, colon, name = model.partition(":")
    if path.exists() or model in RECORDS:
        if options:
            raise ValueError(f"{model} has its options already; give options with the name of a network")
        return artifact.describe(path) if artifact.is_artifact(path) and not weights else load_network(model, part)
    if colon and all(word.isidentifier() for word in [*package.split("."), name]):
        return _imported(package, name, parse_options(options))
    if weights:
        return build(model, **parse_options(options)).eval()
    with torch.device("meta"):
        return build(model, **parse_options(options)).eval()


def _imported(package: str, name: str, options: dict[str, Any]) -> nn.Module:
    """A module of the user's own, or what their function returns."""
    import sys
    from importlib import import_module

    from torch import nn

    sys.path.insert(0, "")  # the current folder, as with `python -m`
    with _raised_by(package):
        module = import_module(package)
    if not hasattr(module, name):
        raise ValueError(f"{package} has no {name}")
    found = getattr(module, name)
    if callable(found) and not isinstance(found, nn.Module):
        with _raised_by(f"{package}:{name}"):
            found = found(**options)
    elif options:
        raise ValueError(f"{package}:{name} is built already; options can be given to a function that builds it")
    if not isinstance(found, nn.Module):
        raise ValueError(f"{package}:{name} is neither a torch.nn.Module nor a function that returns one: {found!r}")
    return found.eval()


@contextmanager
def _raised_by(what: str) -> Iterator[None]:
    """Says whose an error is that comes out of the user's own code; a missing package is reported elsewhere."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Exception as error:
        from inceptions.errors import RunError

        raise RunError(f"{what} raised {type(error).__name__}: {error}") from error


def _heads(facts: Facts) -> list[Facts]:
    """Rows of the heads, where the table has no place for pixels any more."""
    head = facts["head"]
    rows = [{**head, "share": head["multiply_adds"] / max(1, facts["multiply_adds"])}] if head else []
    return rows + [{**row, "name": f"aux.{row['name']}"} for row in facts["aux"]]


def _write_csv(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    from inceptions.files import write_atomically

    text = io.StringIO()
    writer = DictWriter(text, fieldnames=columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _by(value) if isinstance(value, list | tuple) else value for key, value in row.items()}
                     for row in rows)  # fmt: skip
    write_atomically(path, text.getvalue())


def _write_page(model: str, found: Inspection) -> None:
    from inceptions.files import write_atomically
    from inceptions.progress import log
    from inceptions.report.inspected import inspected_page

    path = Path(model)
    called = path.resolve().name if path.exists() else model.replace(":", ".")
    page = Path(f"inspect-{called}.html")
    write_atomically(page, inspected_page(called, found))
    log.info("the page is %s", page)


def _by(size: tuple[int, int] | list[int] | None) -> str | None:
    return f"{size[0]}x{size[1]}" if size else None


def _mebibytes(size: int | None) -> str | None:
    return None if size is None else f"{size / 2**20:,.2f} MiB"


def _window(row: Facts) -> str | None:
    """3x3, and 3x3/2 where it steps by two."""
    return (
        None
        if row["kernel"] is None
        else f"{_by(row['kernel'])}" + f"/{row['kernel_stride']}" * (row["kernel_stride"] != 1)
    )


_Cells = dict[str, Callable[[dict[str, Any]], object]]
"""Heading -> what stands under it."""

_COST: _Cells = {
    "output": lambda row: f"{_by((row['height'], row['width']))}x{row['channels']}",
    "parameters": lambda row: row["parameters"],
    "multiply-adds": lambda row: row["multiply_adds"],
    "share": lambda row: f"{row['share']:.1%}" if "share" in row else None,
    "memory": lambda row: _mebibytes(row["training_bytes"]),
}
_SIGHT: _Cells = {
    "receptive field": lambda row: _by(row.get("receptive_field")),
    "over its paths": lambda row: (
        f"{row['paths']} from {_by(row['smallest'])}" if (row.get("paths") or 1) > 1 else None
    ),
    "stride": lambda row: row.get("stride"),
    "padding": lambda row: _by(row.get("padding")),
}
_STAGE: _Cells = {
    "stage": lambda row: row["name"],
    **_COST,
    "activations": lambda row: row["activations"],
    **_SIGHT,
}
_PART: _Cells = {
    "layer": lambda row: row["label"],
    "kernel": _window,
    "weights": lambda row: row["weights"],
    **_COST,
    **_SIGHT,
}
_DISPENSABLE = ("activations", "over its paths", "padding", "memory", "stride", "weights", "share")
"""What a narrow terminal does without."""


def _print_table(rows: list[Facts], cells: _Cells) -> None:
    headings = [name for name in cells if any(cells[name](row) is not None for row in rows)]
    table(
        [[cells[name](row) for name in headings] for row in rows],
        headings,
        dispensable=[name for name in _DISPENSABLE if name in headings],
    )


def _print_stages(facts: Facts, rows: list[Facts]) -> None:
    _print_table(rows, _STAGE)
    side, memory = facts["input_size"], _mebibytes(facts["training_bytes"])
    print(f"\n{facts['model']} on one image of {side} x {side} px:")
    print(
        f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds, {facts['activations']:,} "
        f"activations" + (f"; training keeps {memory} of each image (float32)" if memory else "")
    )
    if facts["aux"]:
        print("the auxiliary heads work in training only: their multiply-adds and memory are not in the sum")
    if facts["idle_parameters"]:
        print(f"{facts['idle_parameters']:,} parameters belong to no stage that works in evaluation")


def _print_parts(facts: Facts) -> None:
    from inceptions.anatomy.facts import label

    _print_table([{**part, "label": label(part, facts)} for part in facts["parts"]], _PART)
    print(
        f"\n{facts['model']}, {facts['name']}: {facts['parameters']:,} parameters, {facts['multiply_adds']:,} "
        f"multiply-adds, {facts['share']:.1%} of the work"
    )
    if sizes := [_by(size) for size in facts["receptive_fields"] or ()]:
        told = (
            ", ".join(map(str, sizes)) if len(sizes) <= FEW else f"{len(sizes)} sizes from {sizes[0]} on, all in --json"
        )
        print(f"its paths see rectangles of, px: {told}; together {_by(facts['receptive_field'])}")


FEW = 8
"""Sizes of receptive fields that are listed."""

_NUMBER: dict[str, Callable[[float], str]] = {
    "bottleneck": lambda share: f"{share:.0%} fits",
    "widening": lambda factor: f"x {factor:.2f}",
    "reduction": lambda share: _saving(share),
    "factorisation": lambda share: _saving(share),
    "balance": lambda share: f"{share:.0%}",
}


def _saving(share: float) -> str:
    return f"saves {share:.0%}" if share >= 0 else f"costs {-share:.0%} more"


def _print_principles(rows: list[Facts]) -> None:
    from inceptions.anatomy import RULES

    for principle, rule in RULES.items():
        if found := [row for row in rows if row["principle"] == principle]:
            print(textwrap.fill(f"{principle}: {rule}", 100), end="\n\n")
            table(
                [
                    (
                        row["kept"],
                        row["stage"],
                        _NUMBER[principle](row["number"]),
                        row["text"] + (f". Suggestion: {row['suggestion']}" if row["suggestion"] else ""),
                    )
                    for row in found
                ],
                ("kept", "stage", "number", "what"),
            )
            print()
    if not rows:
        print("none of its stages ends on a known grid: the principles do not apply to it")
        return
    kept = sum(row["kept"] for row in rows)
    print(f"{kept} of {len(rows)} checks passed; the thresholds are ours, the paper states none")

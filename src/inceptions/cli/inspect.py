"""`inceptions inspect`: a network stage by stage, or one stage layer by layer."""

from __future__ import annotations

import io
from collections.abc import Callable
from csv import DictWriter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptions.cli.terminal import print_json, table

if TYPE_CHECKING:
    from inceptions.anatomy import Cost, Field, LayerCost, StageCost
    from inceptions.zoo import Network


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
    json: bool = False,
) -> None:
    """Show a network's stages: shapes, parameters, multiply-adds, receptive fields.

    A multiply-add is one multiplication with its addition, in convolutions and linear layers, for one picture.
    Activations are the values that leave those layers. A receptive field is the smallest rectangle of pixels around all
    that a unit sees - through branches and shortcuts it sees one rectangle a path, the smallest is told too -, stride
    the pixels from one unit to the next, padding the border that the first unit sees.

    Args:
        model: a name of `inceptions models`, or a folder with a model (a run's, or one written by export).
        img_size: side of the picture, px; none: the network's own.
        stage: show the layers of this stage instead.
        principles: check the design principles of Inception v3 instead: what is kept, what is not, and the cure.
        options: options of the network, such as `--options.width 0.5`; only with a name.
        csv: write the table there too.
        html: write a page with all of it too, inspect-MODEL.html in the current folder.
        json: print one JSON object instead of the table.
    """
    from inceptions.anatomy import cost, receptive_fields

    network = open_network(model, options or {})
    if stage not in (None, *network.stages):
        raise ValueError(f"{network.name} has no stage {stage!r}; it has: {', '.join(network.stages)}")
    counted = cost(network, img_size)
    fields = receptive_fields(network, img_size)
    if principles:
        facts, cells = _principle_facts(network, counted, stage), _FINDING
        rows = facts["principles"]
    elif stage is None:
        facts, cells = _network_facts(counted, fields), _STAGE
        rows = [*facts["stages"], *_heads(facts)]
    else:
        facts, cells = _stage_facts(network, counted, fields, stage), _LAYER
        rows = facts["layers"]
    if csv:
        _write_csv(csv, rows)
    if html:
        _write_page(network, counted, fields)
    if json:
        print_json(facts)
        return
    table([[cell(row) for cell in cells.values()] for row in rows], list(cells))
    if principles:
        kept = sum(row["kept"] for row in rows)
        print(f"\n{kept} of {len(rows)} checks are kept; the thresholds are ours, the paper states none")
    elif stage is None:
        _print_totals(facts)


def open_network(model: str, options: dict[str, str]) -> Network:
    """The network of a name or in a folder, with shapes but without weights."""
    import torch

    from inceptions.weights import artifact
    from inceptions.zoo import build, parse_options

    if Path(model).exists():
        if options:
            raise ValueError(f"{model} is a folder, whose network has its options already; give options with a name")
        return artifact.describe(model)
    with torch.device("meta"):
        return build(model, **parse_options(options))


def _network_facts(counted: Cost, fields: dict[str, Field]) -> dict[str, Any]:
    return {
        "model": counted.model,
        "input_size": counted.input_size[0],
        "parameters": counted.parameters,
        "multiply_adds": counted.multiply_adds,
        "activations": counted.activations,
        "activation_bytes": counted.activation_bytes,
        "stages": [
            {**_counts(row), **_sight(fields[row.name]), "share": _share(row.multiply_adds, counted)}
            for row in counted.stages
        ],
        "head": _counts(counted.head) if counted.head else None,
        "aux": [_counts(row) for row in counted.aux],
    }


def _counts(row: StageCost) -> dict[str, Any]:
    names = ("name", "channels", "height", "width", "parameters", "multiply_adds", "activations")
    return {name: getattr(row, name) for name in names}


def _sight(field: Field) -> dict[str, Any]:
    """`paths` and `smallest`: the set that the receptive field is the hull of."""
    return {
        "receptive_field": list(field.size),
        "stride": field.stride[0],
        "padding": list(field.padding),
        "paths": len(field.paths),
        "smallest": list(field.sizes[0]),
    }


def _share(part: int, counted: Cost) -> float:
    return part / max(1, counted.multiply_adds)


def _heads(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the heads, where the table has no place for pixels any more."""
    head = [{**facts["head"], "share": facts["head"]["multiply_adds"] / max(1, facts["multiply_adds"])}]
    return head + [{**row, "name": f"aux.{row['name']}"} for row in facts["aux"]]


def _stage_facts(network: Network, counted: Cost, fields: dict[str, Field], stage: str) -> dict[str, Any]:
    from inceptions.anatomy import elements

    row = {row.name: row for row in counted.stages}[stage]
    layers = []
    for name, _ in elements(dict(network.table.stages)[stage], stage):
        parts = [part for part in row.layers if f"{part.name}.".startswith(f"body.{name}.")]
        if parts:
            layers.append({"name": name, **_layer_facts(parts), **_sight(fields[name]),
                           "share": _share(sum(part.multiply_adds for part in parts), counted)})  # fmt: skip
    whole = {**_counts(row), **_sight(fields[stage]), "share": _share(row.multiply_adds, counted)}
    whole["receptive_fields"] = fields[stage].sizes
    return {"model": counted.model, "input_size": counted.input_size[0], **whole, "layers": layers}


def _principle_facts(network: Network, counted: Cost, stage: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    from inceptions.anatomy import principles

    found = principles(network, counted.input_size)
    rows = [asdict(finding) for finding in found if stage in (None, finding.stage)]
    return {"model": counted.model, "input_size": counted.input_size[0], "principles": rows}


def _layer_facts(parts: list[LayerCost]) -> dict[str, Any]:
    """One row of a table: a convolution with its norm and activation, or both halves of a separable one."""
    windows = [part for part in parts if part.kernel]
    largest = max(windows, key=lambda part: part.kernel or (0, 0)) if windows else None
    return {
        "kernel": largest.kernel if largest else None,
        "channels": parts[-1].channels,
        "height": parts[-1].height,
        "width": parts[-1].width,
        "parameters": sum(part.parameters for part in parts),
        "weights": " + ".join(part.formula for part in parts if part.formula) or None,
        "multiply_adds": sum(part.multiply_adds for part in parts),
    }


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    from inceptions.progress import write_atomically

    text = io.StringIO()
    writer = DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _by(value) if isinstance(value, list | tuple) else value for key, value in row.items()}
                     for row in rows)  # fmt: skip
    write_atomically(path, text.getvalue())


def _write_page(network: Network, counted: Cost, fields: dict[str, Field]) -> None:
    from inceptions.progress import log, write_atomically
    from inceptions.report.inspected import inspected_page

    path = Path(f"inspect-{network.name}.html")
    stages = [_stage_facts(network, counted, fields, row.name) for row in counted.stages]
    findings = _principle_facts(network, counted, None)["principles"]
    write_atomically(path, inspected_page(_network_facts(counted, fields), stages, findings))
    log.info("the page is %s", path)


def _by(size: tuple[int, int] | list[int] | None) -> str | None:
    return f"{size[0]}x{size[1]}" if size else None


_Cells = dict[str, Callable[[dict[str, Any]], object]]

_COST: _Cells = {
    "channels": lambda row: row["channels"],
    "grid": lambda row: _by((row["height"], row["width"])),
    "parameters": lambda row: row["parameters"],
    "multiply-adds": lambda row: row["multiply_adds"],
    "share": lambda row: f"{row['share']:.1%}" if "share" in row else None,
}
"""Heading -> what stands under it."""
_SIGHT: _Cells = {
    "receptive field": lambda row: _by(row.get("receptive_field")),
    "over its paths": lambda row: f"{row['paths']} from {_by(row['smallest'])}" if row.get("paths", 1) > 1 else None,
    "stride": lambda row: row.get("stride"),
    "padding": lambda row: _by(row.get("padding")),
}
_STAGE: _Cells = {
    "stage": lambda row: row["name"],
    **_COST,
    "activations": lambda row: row["activations"],
    **_SIGHT,
}
_LAYER: _Cells = {
    "layer": lambda row: row["name"],
    "kernel": lambda row: _by(row["kernel"]),
    "weights": lambda row: row["weights"],
    **_COST,
    **_SIGHT,
}


_FINDING: _Cells = {
    "principle": lambda row: row["principle"],
    "stage": lambda row: row["stage"],
    "kept": lambda row: row["kept"],
    "number": lambda row: row["number"],
    "what": lambda row: row["text"],
    "cure": lambda row: row["cure"],
}


def _print_totals(facts: dict[str, Any]) -> None:
    side, memory = facts["input_size"], facts["activation_bytes"] / 2**20
    print(
        f"\n{facts['model']} on one picture of {side} x {side} px: {facts['parameters']:,} parameters, "
        f"{facts['multiply_adds']:,} multiply-adds, {facts['activations']:,} activations ({memory:,.1f} MiB in float32)"
    )
    if facts["aux"]:
        print(
            "the auxiliary heads' parameters are counted; they work in training only, and their multiply-adds are not"
        )

"""`inceptions compare`: networks side by side, or two checkpoints of one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from inceptions.cli.terminal import print_json, table
from inceptions.errors import DataError
from inceptions.progress import log

if TYPE_CHECKING:
    from inceptions.anatomy.difference import AnswerDifference, TensorDifference
    from inceptions.anatomy.summary import Portrait
    from inceptions.models import Model

SHOWN = 20
"""Tensors that a table shows."""


def compare(
    *models: str,
    weights: tuple[str, str] | None = None,
    img_size: int | None = None,
    latency: bool = True,
    json: bool = False,
) -> None:
    """Compare networks side by side, or two checkpoints of one network.

    Latency is the median of nine single images in PyTorch, measured here and now; an export, which has no weights
    there, gets none: `inceptions benchmark` times it. Published accuracies are top-1 on ImageNet by the protocols of
    those who published them, a run's is its own on its validation images.

    Of two tensors, relative is the length of their difference over the first's length. The distance of two answers is
    half the sum of the differences of all probabilities: 0 for equal ones, 1 for nothing in common.

    Args:
        models: names of `inceptions models`, runs, folders of models and exports, weight files; none: the whole family.
            With --weights, images and folders of images instead, to compare the answers to.
        weights: two checkpoints to compare tensor by tensor: folders, files, or published weights.
        img_size: side of the images, px; none: each network's own.
        latency: measure it.
        json: print JSON: a list of networks, or an object with `tensors` and `answers`.
    """
    if weights:
        _compare_weights(*weights, models, img_size=img_size, json=json)
        return
    from inceptions.anatomy.summary import portrait
    from inceptions.progress import track
    from inceptions.zoo import list_models

    chosen = models or list_models()
    opened = ((name, _model(name, weights=latency)) for name in chosen)
    rows = [
        portrait(model, name=name, size=img_size, timed=latency)
        for name, model in track(opened, description="comparing", total=len(chosen), unit="networks")
    ]
    if json:
        print_json([asdict(row) for row in rows])
    else:
        _print(rows)


def _model(name: str, *, weights: bool) -> Model:
    from inceptions.cli.inspect import module_of, opened

    if module_of(name):
        raise ValueError(f"{name} is none of the family's networks; `inceptions inspect {name}` shows any module")
    return opened(name, weights=weights)


def _short(names: list[str]) -> list[object]:
    """Without the folders that paths begin with, where the last parts tell them apart."""
    from pathlib import Path

    last = [Path(name).resolve().name if Path(name).exists() else name for name in names]
    return [*last] if len({*last}) == len({*names}) else [*names]


DISPENSABLE = ("activations", "year", "quartiles", "input", "generation", "receptive field", "published top-1", "depth")
"""What a narrow terminal does without."""


def _print(rows: list[Portrait]) -> None:
    def measured(row: Portrait) -> str | None:
        if not row.measured:
            return None
        low, high = row.measured["top1_interval"]
        return f"{row.measured['top1']:.2%} ({low:.1%} to {high:.1%}, n {row.measured['n']:,})"

    cells: dict[str, list[object]] = {
        "model": _short([row.name for row in rows]),
        "generation": [row.generation for row in rows],
        "year": [str(row.year) if row.year else None for row in rows],
        "input": [f"{row.input_size[0]}x{row.input_size[1]}" for row in rows],
        "depth": [row.depth for row in rows],
        "parameters": [row.parameters for row in rows],
        "multiply-adds": [row.multiply_adds for row in rows],
        "activations": [row.activations for row in rows],
        "receptive field": [f"{row.receptive_field[0]}x{row.receptive_field[1]}" for row in rows],
        "latency, ms": [f"{row.latency.median:.1f}" if row.latency else None for row in rows],
        "quartiles": [
            f"{row.latency.quartiles[0]:.1f} to {row.latency.quartiles[1]:.1f}" if row.latency else None for row in rows
        ],
        "published top-1": [row.published_top1 for row in rows],
        "measured top-1": [measured(row) for row in rows],
    }
    filled = {heading: column for heading, column in cells.items() if any(cell is not None for cell in column)}
    table(
        list(zip(*filled.values(), strict=True)),
        list(filled),
        dispensable=[heading for heading in DISPENSABLE if heading in filled],
    )
    timed = [row.latency for row in rows if row.latency]
    if timed:
        print(
            f"\nlatency: of single images in PyTorch, the median of {timed[0].runs}, on {timed[0].device} with "
            f"{timed[0].threads} threads"
        )
    for source in dict.fromkeys(row.published_by for row in rows if row.published_by):
        whose = ", ".join(dict.fromkeys(row.model for row in rows if row.published_by == source))
        print(f"published top-1 of {whose}: {source}")


# --- two checkpoints ----------------------------------------------------------------------------------------------


def _compare_weights(first: str, second: str, paths: tuple[str, ...], *, img_size: int | None, json: bool) -> None:
    from inceptions.anatomy.difference import answer_differences, tensor_differences
    from inceptions.cli import UsageError
    from inceptions.models import open_model
    from inceptions.predict import some_images
    from inceptions.progress import track

    if img_size is not None and not paths:
        raise UsageError(f"--img-size {img_size} is of images: name some to compare the answers to, or leave it out")
    files = some_images(paths) if paths else []
    one, other = (open_model(source, img_size=img_size) for source in (first, second))
    tensors = tensor_differences(one.in_pytorch().state_dict(), other.in_pytorch().state_dict())
    seen = answer_differences(one, other, files)
    answers = list(track(seen, description="comparing", total=len(files)))
    if json:
        print_json({"tensors": [asdict(row) for row in tensors], "answers": [asdict(row) for row in answers]})
    else:
        _print_tensors(tensors)
        _print_answers(answers)
    if files and all(row.error for row in answers):
        raise DataError(f"none of the {len(files)} images could be read")


def _print_tensors(tensors: tuple[TensorDifference, ...]) -> None:
    strange = [row for row in tensors if row.largest is None]
    known = [row for row in tensors if row.largest is not None]
    different = sorted((row for row in known if not row.equal), key=lambda row: -(row.relative or 0.0))
    shown = [*strange, *different][:SHOWN]
    if shown:
        table(
            [
                (row.name, " / ".join(dict.fromkeys(map(_shape, row.shapes))), row.largest, row.relative, row.cosine)
                for row in shown
            ],
            ("tensor", "shape", "largest difference", "relative", "cosine"),
            dispensable=() if strange else ("shape",),
        )
        print()
    left = len(strange) + len(different) - len(shown)
    print(
        f"{len(tensors)} tensors: {len(known) - len(different)} equal, {len(different)} different, "
        f"{len(strange)} only in one or of another shape" + (f"; {left} more are in --json" if left else "")
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "number"


def _print_answers(answers: list[AnswerDifference]) -> None:
    read = [row for row in answers if row.labels and row.probabilities]
    for row in answers:
        if row.error:
            log.warning("%s: %s", row.file, row.error)
    if not read:
        return
    print()
    apart = [row for row in read if not row.agree]
    if apart:
        names = _short([row.file for row in apart])
        table(
            [(name, *_both(row), row.distance) for name, row in zip(names, apart, strict=True)],
            ("image", "first", "second", "distance"),
        )
        print()
    largest = max((row.distance or 0.0 for row in read), default=0.0)
    alike = len(read) - len(apart)
    print(f"{alike} of {len(read)} images get the same label; the answers differ by {largest:.3g} at most")


def _both(row: AnswerDifference) -> list[str]:
    assert row.labels
    assert row.probabilities
    return [f"{label} {share:.1%}" for label, share in zip(row.labels, row.probabilities, strict=True)]

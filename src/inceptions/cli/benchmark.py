"""`inceptions benchmark`: how fast a network is here, on every engine, and what the machine's limit is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from inceptions.cli.terminal import print_json, table

if TYPE_CHECKING:
    from inceptions.deploy.benchmark import Measured

_List = Annotated[str, Parameter(negative=())]
COLUMNS = (
    *("model", "engine", "precision", "batch", "threads", "device", "images/s", "p50 ms", "p95 ms", "p99 ms"),
    *("share of peak", "peak GOP/s", "equal top-1", "load s", "memory MB", "file MB"),
)


def benchmark(
    *models: str,
    engines: _List = "all",
    precisions: _List = "all",
    batch: Annotated[str, Parameter(name=["--batch", "-b"])] = "1,16",
    threads: str | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    img_size: int | None = None,
    rounds: int = 5,
    seconds: float = 1.0,
    options: dict[str, str] | None = None,
    image: Path | None = None,
    json: bool = False,
) -> None:
    """Measure throughput, latency, memory and parity on every engine, next to the machine's limit.

    Every engine and precision has a process of its own; as many as cores and memory allow are alive at once, and take
    turns. What the processor lacks is left out, and said. The limit is the best of several small kernels of the same
    arithmetic on the same threads, in PyTorch, ONNX Runtime and OpenVINO; `share of peak` is the network's operations
    (two a multiply-add) against it. Network alone: images are decoded beforehand.

    Args:
        models: runs, models, exports' originals, or names of `inceptions models` (fresh weights; their int8 says
            nothing about accuracy).
        engines: all, or some of openvino,onnxruntime,torch-compiled,torch.
        precisions: all that pay here, or some of float32,bf16,int8; emulated ones only if they are named.
        batch: sizes of a batch.
        threads: numbers of threads, as 1,2; none: as many as PyTorch uses.
        device: where PyTorch runs; none: a GPU where there is one. The other engines run on the CPU.
        img_size: side of the images, px; none: the network's own.
        rounds: turns of each case; medians are reported.
        seconds: of one turn.
        options: of bare networks, such as `--options.width 0.5`.
        image: write a bar chart there (.png or .svg).
        json: print a list of objects instead of the table.
    """
    import torch

    from inceptions.cli import UsageError
    from inceptions.deploy.benchmark import benchmark as measure
    from inceptions.deploy.benchmark import cases, lines
    from inceptions.zoo import parse_options

    if not models:
        raise UsageError("no models given: name runs, models, or networks of `inceptions models`")
    wanted = cases(
        models,
        engines=None if engines == "all" else engines.split(","),
        precisions=None if precisions == "all" else precisions.split(","),
        batches=_numbers("--batch", batch),
        threads=[torch.get_num_threads()] if threads is None else _numbers("--threads", threads),
        device=device,
    )
    found = measure(
        wanted, rounds=rounds, seconds=seconds, img_size=img_size, options=parse_options(options or {}) or None
    )
    if image:
        _draw(found, image)
    if json:
        print_json([one.to_dict() for one in found])
        return
    rows = [
        (
            *(one.model, one.engine, one.computes, one.batch, one.threads, one.device, one.images_per_second),
            *one.latency_ms.values(),
            *(one.share_of_peak, one.peak_gops, one.parity["equal_top1"], one.load_seconds),
            *(one.peak_memory / 1e6, one.file_size / 1e6),
        )
        for one in found
    ]
    table(rows, COLUMNS, dispensable=("file MB", "memory MB", "load s", "device", "threads", "p99 ms", "peak GOP/s"))
    print()
    for line in lines(found):
        print(line)
    print(f"processor: {found[0].instruction_set}")


def _numbers(flag: str, text: str) -> list[int]:
    from inceptions.cli import UsageError

    words = text.split(",")
    if not all(word.isdigit() and int(word) > 0 for word in words):
        raise UsageError(f"{flag} {text}: whole numbers above 0, as 1,16")
    return [int(word) for word in words]


def _draw(found: list[Measured], file: Path) -> None:
    """Bars of images/s, and behind each the machine's limit."""
    from matplotlib.figure import Figure

    from inceptions.evaluation.fonts import legible

    labels = [f"{one.model}  {one.engine} {one.precision}  batch {one.batch}, {one.threads} threads" for one in found]
    figure = Figure(figsize=(9, 1 + 0.32 * len(found)), layout="constrained")
    axes = figure.subplots()
    limits = [one.images_per_second / one.share_of_peak for one in found]
    places = range(len(found))
    axes.barh(places, limits, color="#d9d9d9", label="limit: the fastest kernel measured")
    axes.barh(places, [one.images_per_second for one in found], height=0.5, color="#3b6ea5", label="measured")
    for place, one in zip(places, found, strict=True):
        axes.text(one.images_per_second, place, f" {one.images_per_second:,.0f}", va="center", fontsize=8)
    labels, families = legible(labels, figure=file.name)
    axes.set_yticks(list(places), labels, fontsize=8, parse_math=False, fontfamily=families)
    axes.invert_yaxis()
    axes.set_xlabel("images per second")
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(file, dpi=144)

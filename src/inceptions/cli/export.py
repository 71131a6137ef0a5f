"""`inceptions export`: a network in the format of another runtime, proven to give the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from inceptions.cli.terminal import print_json, table


def export(
    model: str,
    /,
    *,
    format: Literal["onnx", "openvino", "pt2"] = "onnx",
    precision: Literal["auto", "float32", "bf16", "int8"] = "auto",
    output: Path | None = None,
    data: str | None = None,
    images: Annotated[int, Parameter(name=["--images", "--pictures"])] = 200,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    with_preprocessing: bool = False,
    opset: int | None = None,
    target: Literal["any", "this"] = "any",
    max_drop: float | None = None,
    max_time: float = 10.0,
    img_size: int | None = None,
    check: bool = False,
    options: dict[str, str] | None = None,
    workers: Annotated[int, Parameter(name=["--workers", "-j"])] = 0,
    weights_part: str | None = None,
    json: bool = False,
) -> None:
    """Export a model to ONNX, OpenVINO or .pt2, and prove on images that it gives the same answers.

    The written file is opened with its own runtime and compared with the original from image file to logits, before
    the folder gets its name: what differs too much leaves nothing behind (exit code 4). The folder holds the model,
    config.json (classes, preprocessing), parity.json (the proof), probe.npz (some images with the original's answers,
    which repeat the proof on other processors) and a README with code that runs it without this package; `predict`
    and `val` take it like any model.

    Args:
        model: a run's folder, a model's folder, published weights, or a name of `inceptions models` (fresh weights).
        format: onnx (one file), openvino (the fastest on a CPU), or pt2 (PyTorch's own).
        precision: bf16 and int8 are openvino's (pt2 has bf16); auto: float32.
        output: the new folder; none: MODEL-FORMAT-PRECISION next to the model.
        data: images to check on, and to measure int8 ranges on; none: the run's own. Those the run was trained on are
            known by their content, and only ranges are measured on them.
        images: how many to check on (int8: all are judged).
        dynamic_batch: any number of images at once; else one.
        dynamic_size: images of any size from the network's smallest on (onnx, openvino); else of one.
        with_preprocessing: the graph takes uint8 RGB images of its size and gives probabilities; else it takes
            normalized images and gives logits.
        opset: onnx: from 18 (the default: ONNX Runtime 1.14 opens it) to 23.
        target: int8: any: accurate on every processor, also where pairs of products saturate (x86 without VNNI), and
            judged so; this: on those with the instruction set of this one.
        max_drop: int8: points of accuracy that may be lost; none: 0.5, or with --check what it was written under.
            Layers that cost too much stay in floating point.
        max_time: int8: minutes after which no other way to get within max_drop is tried.
        img_size: side of the images, px; none: the model's own.
        check: prove the export in --output again instead of writing it; how it was written is read there, whatever
            the flags say. Where MODEL itself is an export, its probe is run on this processor: no original is needed.
        options: of the network, such as `--options.width 0.5`; only with a name.
        workers: processes that decode.
        weights_part: of a weight file with several networks: model (as trained), ema (their average), or what the names
            begin with, such as teacher; none: the average where there is one.
        json: print one JSON object instead of a table.
    """
    from inceptions import deploy
    from inceptions.cli import UsageError
    from inceptions.engines.exported import describe, is_export, proof
    from inceptions.evaluation.protocol import trained_in
    from inceptions.zoo import parse_options

    if max_drop is not None and not 0 <= max_drop <= 100:
        raise UsageError(f"--max-drop {max_drop:g}: percentage points of accuracy, from 0 to 100")
    if images < 1:
        raise UsageError(f"--images {images}: at least one is needed for a proof")
    if max_time <= 0:
        raise UsageError(f"--max-time {max_time:g}: minutes, more than none")
    if check and output is None and is_export(model):
        _shown(deploy.check_here(model), Path(model), json)
        return
    net = deploy.open_original(
        model, options=parse_options(options or {}), img_size=img_size, weights_part=weights_part
    )
    precision_written = "float32" if precision == "auto" else precision
    folder = output or Path(f"{model.rstrip('/')}-{format}-{precision_written}")
    allowed = 0.5 if max_drop is None else max_drop
    if check:
        precision_written = describe(folder).artifact["export"]["precision"]
        allowed = proof(folder).get("max_drop") or 0.5 if max_drop is None else max_drop
    most = None if precision_written == "int8" else images
    recorded = trained_in(model, net)
    with deploy.find_images(net.classes or (), data=data, recorded=recorded, most=most) as found:
        if check:
            kept: tuple[str, ...] = ()
            parity = deploy.check(net, folder, found, max_drop=allowed, workers=workers)
        else:
            done = deploy.export(
                net,
                folder,
                found,
                format=format,
                precision=precision_written,
                dynamic_batch=dynamic_batch,
                dynamic_size=dynamic_size,
                with_preprocessing=with_preprocessing,
                opset=opset,
                target=target,
                max_drop=allowed,
                max_time=60 * max_time,
                workers=workers,
            )
            parity, kept = done.parity, done.kept_float
    _shown(parity.to_dict(), folder, json, kept)


def _shown(parity: dict[str, Any], folder: Path, json: bool, kept: tuple[str, ...] | None = None) -> None:
    facts = {"output": str(folder), "files": sorted(p.name for p in folder.iterdir()), **parity}
    if json:
        print_json(facts if kept is None else {**facts, "kept_float": kept})
        return
    flat = [
        (key, ", ".join(map(str, value)) if isinstance(value, list | tuple) else value) for key, value in facts.items()
    ]
    table([(key, value) for key, value in flat if value not in (None, "")], ("fact", ""))
    if kept:
        table([(name,) for name in kept], ("kept in floating point",))

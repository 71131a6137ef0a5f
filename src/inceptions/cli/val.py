"""`inceptions val`: how good is a model, in numbers that can be trusted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from inceptions.cli.terminal import plain, print_json, table
from inceptions.errors import GateError
from inceptions.files import to_json, write_atomically
from inceptions.progress import log

if TYPE_CHECKING:
    from inceptions.data import Split
    from inceptions.evaluation import Outcome
    from inceptions.zoo import Network

_MOST_CLASSES = 40  # of the table on the terminal; --json and the files have all


def val(
    run: str,
    /,
    data: str | None = None,
    *,
    batch_size: Annotated[int, Parameter(name=["--batch-size", "-b"])] = 32,
    workers: Annotated[int | None, Parameter(name=["--workers", "-j"])] = None,
    engine: str = "auto",
    precision: str | None = None,
    device: str | None = None,
    img_size: str | None = None,
    crops: Literal[1, 10, 12, 144] = 1,
    early_exit: str | None = None,
    ensemble: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    temperature: float | None = None,
    calibrate: bool = False,
    coverage: float | None = None,
    min_top1: float | None = None,
    label: str | None = None,
    output: Path | None = None,
    weights_part: str | None = None,
    json: bool = False,
) -> None:
    """Evaluate a model on labeled images: accuracy with its interval, per class, confusion, calibration.

    Images that the run was trained on are known by their content, wherever they lie now and whatever they are called;
    they are counted, but not judged. The classes of the images are matched with the model's by name. Images that
    cannot be read and those of classes that the model does not have are counted, and not judged. Counts are exact:
    batch size, workers and the number of processes (under torchrun) change none (of loss and calibration error the last
    digits). Writes predictions.csv, confusion.csv, confusion.png and val.json.

    Args:
        run: a run's folder, a model's folder, or published weights.
        data: a folder CLASS/image (all of it), or one with train and val in it (val), or a manifest. A folder that
            `train` has divided, or a copy of it: its validation part. None: what the run was validated on.
        batch_size: images decoded together.
        workers: processes that decode; none: what the number of images is worth.
        engine: auto, torch, torch-compiled, onnxruntime or openvino. auto converts nothing for work that is done in
            half a minute.
        precision: float32, bf16, int8 (ranges measured on the run's training images), or auto: bf16 where the
            processor is fast in it; none: float32, and of an export its own.
        device: where torch runs, as cuda:0; none: a GPU where there is one.
        img_size: side of the images for the network, px; none: as it was trained. Several (299,331,395) give a curve,
            and the first one everything else.
        crops: of each image, probabilities averaged: 10 (corners, center, mirrored), 12 (and the whole), 144 (that
            from 3 squares at 4 scales), as in the GoogLeNet and v4 papers.
        early_exit: images stop at an auxiliary head (`train --aux`) whose probability is at least this; evaluated
            so, and compared with the plain network: share that left, accuracy, speed. Several (0.5,0.8,0.95) are
            compared, and the plain network gives everything else.
        ensemble: further models: the probabilities of all are averaged.
        temperature: divides the logits; none: what --calibrate stored in the model.
        calibrate: fit the temperature on these images and store it in the model.
        coverage: an accuracy: from which probability on must answers be kept to reach it, and how many are that?
        min_top1: a gate: exit code 4 if the accuracy (0 to 1) is below.
        label: the label's column in a manifest or a table.
        output: the folder for the files; none: the run's.
        weights_part: of a weight file with several networks: model (as trained), ema (their average), or what the names
            begin with, such as teacher; none: the average where there is one.
        json: print one JSON object instead of tables.
    """
    from inceptions.cli import UsageError
    from inceptions.data import evaluation_split, learned_part
    from inceptions.evaluation import Protocol, exits, judge
    from inceptions.evaluation.protocol import trained_in
    from inceptions.predict import load_network

    thresholds = _thresholds(early_exit)
    problems = list(_problems(calibrate, temperature, coverage, min_top1, ensemble, crops, workers, batch_size))
    if thresholds and (calibrate or ensemble):
        problems.append("--early-exit answers with several heads of one model: leave --calibrate and --ensemble out")
    if problems:
        raise UsageError("; ".join(problems))
    sizes = _sizes(img_size)
    nets = [load_network(source, weights_part) for source in (run, *ensemble)]
    if nets[0].classes is None:
        raise ValueError(f"{run} has no class names, so its answers cannot be compared with labels")
    recorded = [trained_in(source, net) for source, net in zip((run, *ensemble), nets, strict=True)]
    name, dataset = evaluation_split(
        data, classes=nets[0].classes, recorded=recorded, label=label, hint=f"inceptions val {run} FOLDER"
    )
    calibration: Path | Split | None = None
    if precision == "int8" and nets[0].export is None:
        calibration = (learned_part(recorded[0], dataset) if recorded[0].is_file() else None) or recorded[0]
    split = dataset.splits[name]
    protocol = Protocol(
        batch_size=batch_size,
        workers=workers,
        engine=engine,
        precision=precision,
        device=device,
        crops=crops,
        img_size=sizes[0],
        temperature=1.0 if calibrate else temperature,
        calibration=calibration,
        early_exit=thresholds[0] if len(thresholds) == 1 else None,
    )
    more = dict[str, Any]()
    with _processes() as first:
        if thresholds:
            judged, rows = exits(nets[0], split, protocol, thresholds)
            outcomes = [judged[0 if protocol.early_exit is None else 1]]
            more["exits"] = [vars(row) for row in rows]
        else:
            outcomes = [judge(nets, split, protocol, keep_logits=calibrate)]
        outcomes += [judge(nets, split, replace(protocol, img_size=size)) for size in sizes[1:]]
        if not first:
            return
    outcome = outcomes[0]
    if calibrate:
        more["calibration"], outcome = _calibrate(run, nets[0], outcome)
    if coverage is not None:
        more["coverage"] = vars(outcome.coverage(coverage))
    if len(sizes) > 1:
        more["curve"] = [
            {"img_size": size, **{key: getattr(one.metrics, key) for key in ("n", "top1", "top5", "loss")}}
            for size, one in zip(sizes, outcomes, strict=True)
        ]
    facts = {
        "run": run,
        "ensemble": list(ensemble),
        "data": str(dataset.source if data is None else data),
        "split": name,
        **outcome.metrics.to_dict(),
        "refused": [refused._asdict() for refused in outcome.refused],
        "unknown_classes": list(dataset.unknown_classes),
        "trained_on": dataset.trained_on,
        "changed": list(dataset.changed),
        "engine": engine,
        "precision": precision or _own_precision(nets[0]),
        "ran": list(outcomes[0].ran),
        "crops": crops,
        "img_size": sizes[0] or nets[0].preprocess.size[0],
        "early_exit": protocol.early_exit,
        **more,
    }
    folder = output or (Path(run) if (Path(run) / "model").is_dir() else None)
    facts["files"] = [] if folder is None else _write(folder, facts, outcome, split)
    if json:
        print_json(facts)
    else:
        _show(facts)
    if min_top1 is not None and outcome.metrics.top1 < min_top1:
        raise GateError(f"top-1 {outcome.metrics.top1:.4f} is below --min-top1 {min_top1:g} (n {outcome.metrics.n})")


def _own_precision(net: Network) -> str:
    return str(net.artifact["export"]["precision"]) if net.export is not None else "float32"


def _problems(
    calibrate: bool,
    temperature: float | None,
    coverage: float | None,
    min_top1: float | None,
    ensemble: Sequence[str],
    crops: int,
    workers: int | None,
    batch_size: int,
) -> Iterator[str]:
    """What is wrong with the flags, all of it at once, before anything is read."""
    for flag, share in (("--coverage", coverage), ("--min-top1", min_top1)):
        if share is not None and not 0 <= share <= 1:
            yield f"{flag} {share:g}: a share from 0 to 1 (0.9 is 90 %)"
    if coverage == 0:
        yield "--coverage 0: an accuracy above 0; any answers reach this one"
    if temperature is not None and not 0 < temperature < float("inf"):
        yield f"--temperature {temperature:g}: a number above 0"
    if calibrate and (temperature is not None or ensemble or crops != 1):
        yield "--calibrate fits one model on one crop: it does not go with --temperature, --ensemble and --crops"
    if workers is not None and workers < 0:
        yield f"--workers {workers}: 0 or more"
    if batch_size < 1:
        yield f"--batch-size {batch_size}: 1 or more"


def _sizes(img_size: str | None) -> list[int | None]:
    from inceptions.cli import UsageError

    if img_size is None:
        return [None]
    try:
        return [int(size) for size in img_size.split(",")]
    except ValueError:
        raise UsageError(f"--img-size {img_size}: a number of pixels, or several as 299,331,395") from None


def _thresholds(early_exit: str | None) -> list[float]:
    from inceptions.cli import UsageError

    try:
        thresholds = [float(word) for word in early_exit.split(",")] if early_exit is not None else []
    except ValueError:
        thresholds = [0.0]
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise UsageError(f"--early-exit {early_exit}: a probability above 0 and at most 1, or several as 0.5,0.8,0.95")
    return thresholds


@contextmanager
def _processes() -> Iterator[bool]:
    """Joins the processes that torchrun started; True in the one that reports for all."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    from torch import distributed

    distributed.init_process_group("gloo")  # counts are few: the CPUs can exchange them
    try:
        first = distributed.get_rank() == 0
        if not first:
            log.setLevel("ERROR")
        yield first
    finally:
        distributed.destroy_process_group()


def _calibrate(run: str, net: Network, outcome: Outcome) -> tuple[dict[str, float], Outcome]:
    """Fits the temperature, stores it in the model, and gives what it changed with the new outcome."""
    from inceptions.predict import Classifier
    from inceptions.weights import artifact

    if not artifact.is_artifact(Path(run)):
        raise ValueError(f"--calibrate: {run} is not a model folder, so a temperature cannot be stored in it")
    temperature, after = outcome.calibrated()
    folder = Path(run)
    Classifier(net, temperature=temperature).save(folder / "model" if (folder / "model").is_dir() else folder)
    log.info("temperature %.4g is stored in %s; it was fitted and is judged on the same images", temperature, run)
    before = outcome.metrics
    return {"temperature": temperature, "loss_before": before.loss, "ece_before": before.ece}, after


def _write(folder: Path, facts: dict[str, Any], outcome: Outcome, split: Split) -> list[str]:
    from inceptions.evaluation.csv_files import draw_confusion, write_confusion, write_predictions

    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.csv", outcome.rows(split))
    write_confusion(folder / "confusion.csv", outcome.metrics.confusion, outcome.classes)
    draw_confusion(folder / "confusion.png", outcome.metrics.confusion, outcome.classes)
    write_atomically(folder / "val.json", to_json(facts, indent=2) + "\n")
    return [str(folder / name) for name in ("predictions.csv", "confusion.csv", "confusion.png", "val.json")]


def _show(facts: dict[str, Any]) -> None:
    def share(name: str) -> list[object]:
        low, high = facts[f"{name}_interval"]
        return [name, f"{100 * facts[name]:.2f} %", f"95 %: {100 * low:.2f} to {100 * high:.2f} %"]

    rows: list[list[object]] = [
        ["images", f"{facts['n']:,}", f"{facts['skipped']} unreadable, {facts['unknown']} of unknown classes"],
        ["computed by", "; ".join(facts["ran"]), ""],
        share("top1"),
        share("top5"),
        ["loss", f"{facts['loss']:.4f}", "95 %: {:.4f} to {:.4f} nats".format(*facts["loss_interval"])],
        ["calibration error", *share("ece")[1:]],
        ["macro F1", *share("macro_f1")[1:]],
    ]
    if facts["missing_classes"]:
        rows[-1][2] = f"{rows[-1][2]}, of the {facts['macro_classes']:,} classes that have images"
    if fitted := facts.get("calibration"):
        told = f"fitted here; before, loss {fitted['loss_before']:.4f}, error {100 * fitted['ece_before']:.2f} %"
        rows.append(["temperature", f"{fitted['temperature']:.4g}", told])
    if kept := facts.get("coverage"):
        told = (
            f"of the answers are kept at probability >= {kept['threshold']:.4f}: {100 * kept['accuracy']:.2f} % right"
        )
        if not kept["coverage"]:
            told = f"no probability reaches {100 * kept['wanted']:g} % right, however few answers are kept"
        rows.append(["coverage", f"{100 * kept['coverage']:.2f} %", told])
    table(rows, [f"{facts['split']} of {facts['data']}", "", ""])
    print()
    if curve := facts.get("curve"):
        table([list(point.values()) for point in curve], list(curve[0]))
        print()
    if compared := facts.get("exits"):
        stages = list(compared[0]["left"])
        table(
            [
                [
                    "plain network" if row["threshold"] is None else f"early exit at {row['threshold']:g}",
                    *(f"{100 * row['left'][stage]:.1f} %" for stage in stages),
                    f"{100 * row['top1']:.2f} %",
                    row["images_per_second"],
                    row["ratio"],
                ]
                for row in compared
            ],
            ["", *(f"left at {stage}" for stage in stages), "top1", "images/s", "ratio"],
        )
        print()
    worst = sorted(facts["per_class"], key=lambda one: (one["recall"] is None, one["recall"] or 0.0))
    classes = facts["per_class"] if len(worst) <= _MOST_CLASSES else worst[:_MOST_CLASSES]
    keys = ("label", "support", "precision", "recall", "f1")
    table([[one[key] for key in keys] for one in classes], ["class", *keys[1:]])
    if len(worst) > _MOST_CLASSES:
        print(f"the {_MOST_CLASSES} classes with the lowest recall of {len(worst)}; --json has all")
    if facts["trained_on"]:
        print(f"left out, because the model was trained on them: {facts['trained_on']:,} images")
    if facts["changed"]:
        print(f"no longer what the run recorded: {len(facts['changed']):,} images")
    for kind, names in (
        ("not in the model", "unknown_classes"),
        ("without images, so of unknown recall", "missing_classes"),
    ):
        if facts[names]:
            print(f"classes {kind}: {', '.join(map(plain, facts[names]))}")
    if facts["files"]:
        print(f"written: {', '.join(map(plain, facts['files']))}")

"""`inceptions predict`: images in, named probabilities out."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from inceptions.cli.terminal import certainty, plain, print_json
from inceptions.errors import DataError
from inceptions.files import open_atomically, to_json
from inceptions.progress import log, track

if TYPE_CHECKING:
    from inceptions.features import Extractor
    from inceptions.predict import Prediction

Sink = Callable[["Prediction"], None]

CSV_COLUMNS = ("file", "label", "probability", "top_k", "error")
_WIDEST = 60  # characters of a column on the terminal


def predict(
    run: str,
    /,
    *images: str,
    top_k: int = 3,
    output: Path | None = None,
    json: bool = False,
    features: Path | None = None,
    batch_size: Annotated[int | None, Parameter(name=["--batch-size", "-b"])] = None,
    workers: Annotated[int | None, Parameter(name=["--workers", "-j"])] = None,
    engine: str = "auto",
    precision: str | None = None,
    device: str | None = None,
    img_size: int | None = None,
    early_exit: float | None = None,
    weights_part: str | None = None,
) -> None:
    """Classify images, and folders of images.

    Images that cannot be read are named and stop nothing; exit code 3 only if not a single one could be read.

    Args:
        run: a run's folder, a model's folder, or published weights.
        images: files, and folders (with everything below them; hidden files are left out).
        top_k: how many classes to name for each image.
        output: write the predictions there instead of showing them: .csv (file, label, probability, top_k as JSON,
            error) or .jsonl (the objects of --json). It appears when it is complete.
        json: print one JSON object a line for each image: file, label, probability, top_k; or file, error.
        features: write what the classifier sees there instead of what it says, .npz: `names`, `hashes` (SHA-256 of the
            files), `features` (a row each), `weights` (SHA-256 of the weights below the classifier), `precision`. What
            was computed before, here or by `train --tune head`, is taken from the cache.
        batch_size: images run at once; none: what is fastest here.
        workers: processes that decode; none: what the number of images is worth.
        engine: auto, torch, torch-compiled, onnxruntime or openvino. auto converts nothing for work that is done in
            half a minute.
        precision: float32, bf16, int8 (ranges measured on the run's training images), or auto: bf16 where the
            processor is fast in it; none: float32 (of an export its own), for features auto.
        device: where torch runs, as cuda:0; none: a GPU where there is one.
        img_size: side of the images for the network, px; none: as it was trained.
        early_exit: images stop at an auxiliary head (`train --aux`) whose probability is at least this. `val
            --early-exit` shows what that costs and saves.
        weights_part: of a weight file with several networks: model (as trained), ema (their average), or what the names
            begin with, such as teacher; none: the average where there is one.
    """
    from inceptions.cli import UsageError
    from inceptions.data import record_of
    from inceptions.engines import EarlyExit
    from inceptions.evaluation.protocol import ranges, resized
    from inceptions.features import Extractor
    from inceptions.predict import Classifier, load_network, some_images

    if not images:
        raise UsageError("no images given: list files or folders after the model")
    if output is not None and output.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(f"--output {output}: the name must end in .csv or .jsonl")
    if features is not None and features.suffix.lower() != ".npz":
        raise UsageError(f"--features {features}: the name must end in .npz")
    if features is not None and (json or output is not None or early_exit is not None):
        raise UsageError("--features writes what the classifier sees: leave --json, --output and --early-exit out")
    if early_exit is not None and not 0 < early_exit <= 1:
        raise UsageError(f"--early-exit {early_exit:g}: a probability above 0 and at most 1")
    if workers is not None and workers < 0:
        raise UsageError(f"--workers {workers}: 0 or more")
    net = load_network(run, weights_part)
    if img_size is not None:
        net = resized(net, img_size)
    files = some_images(images)
    if features is not None:
        extract = Extractor(
            net,
            expected=len(files),
            engine=engine,
            precision=precision or "auto",
            batch_size=batch_size,
            device=device,
            workers=workers,
        )
        _write_features(features, extract, files)
        return
    classifier = Classifier(
        net,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
        device=device,
        calibration=ranges(record_of(run), net) if precision == "int8" and net.export is None else None,
        early_exit=early_exit,
    )
    unreadable = 0
    stream = classifier.stream(files, top_k=top_k, workers=workers)
    with ExitStack() as stack:
        sinks: list[Sink] = []
        if output is not None:
            sinks.append(stack.enter_context(_file(output)))
        if json:
            sinks.append(lambda prediction: print_json(prediction.to_dict()))
        elif output is None:
            sinks.append(_lines(files, classifier.classes))
        for prediction in track(stream, description="predicting", total=len(files)):
            unreadable += prediction.error is not None
            for sink in sinks:
                sink(prediction)
    if output is not None:
        log.info("%d predictions are in %s", len(files), output)
    ran = classifier.engine()
    if unreadable < len(files):
        log.info("computed by %s, %s", ran.name, ran.computes)
    if isinstance(ran, EarlyExit) and ran.seen:
        log.info("left early: %s", ", ".join(f"{100 * n / ran.seen:.0f} % at {stage}" for stage, n in ran.left.items()))
    _tell(unreadable, len(files))


def _tell(unreadable: int, images: int) -> None:
    if unreadable == images:
        raise DataError(f"none of the {images} images could be read")
    if unreadable:
        log.warning("%d of %d images could not be read", unreadable, images)


def _write_features(path: Path, extract: Extractor, files: Sequence[str]) -> None:
    import numpy as np

    from inceptions.predict import unlabeled

    seen = extract(unlabeled(files))
    _tell(seen.skipped, len(files))
    with open_atomically(path) as file:
        np.savez(
            file,
            names=np.array([files[index] for index in seen.indices], dtype=np.str_),
            hashes=np.array(seen.hashes, dtype=np.str_),
            features=seen.values[:, 0].numpy(),
            weights=np.array(extract.weights),
            precision=np.array(extract.precision),
        )
    log.info("features of %d images are in %s", len(seen.hashes), path)


@contextmanager
def _file(path: Path) -> Iterator[Sink]:
    """Writes predictions as they come; the file takes its name when all are in it."""
    from inceptions.evaluation.csv_files import top_json
    from inceptions.files import safe_cell, safe_path

    with open_atomically(path) as raw:
        # a name that is not UTF-8 becomes an escape: readable in CSV, and exact in JSON
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")

        def row(prediction: Prediction) -> None:
            value = "" if prediction.probability is None else f"{prediction.probability:.9g}"
            best = top_json(prediction.top_k) if prediction.top_k else ""
            file, label, error = prediction.file or "", prediction.label or "", prediction.error or ""
            writer.writerow([safe_path(file), safe_cell(label), value, best, safe_cell(error)])

        def line(prediction: Prediction) -> None:
            text.write(to_json(prediction.to_dict()) + "\n")

        if path.suffix.lower() == ".csv":
            writer.writerow(CSV_COLUMNS)
            yield row
        else:
            yield line
        text.detach()


def _lines(files: Sequence[str], classes: Sequence[str]) -> Sink:
    """Prints a row as soon as it is known; the widths are, before anything is."""
    wide = min(max(len(plain(file)) for file in files), _WIDEST)
    label_wide = min(max(len(plain(label)) for label in classes), _WIDEST)
    print(f"{'file':{wide}}  {'label':{label_wide}}  probability  next")

    def show(prediction: Prediction) -> None:
        file = plain(prediction.file or "")
        if prediction.error is not None:
            print(f"{file:{wide}}  unreadable: {plain(prediction.error)}")
            return
        further = ", ".join(f"{plain(label)} {certainty(value)}" for label, value in prediction.top_k[1:])
        label, value = prediction.top_k[0]
        print(f"{file:{wide}}  {plain(label):{label_wide}}  {certainty(value):>11}  {further}".rstrip())

    return show

"""Whether an exported file gives the answers of its original, on real images, from the file to the logits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from inceptions.data import Split, batches
from inceptions.engines import Engine, finite
from inceptions.engines.exported import ExportedEngine
from inceptions.errors import DataError
from inceptions.image import Preprocess
from inceptions.progress import track

LOGITS = {"float32": 1e-4, "bf16": 5e-2}
"""precision -> largest allowed difference of a logit, as a share of the largest logit. bf16 keeps 8 bits of a number
(0.4 %), and a hundred layers add up."""
EQUAL = {"float32": 0.999, "bf16": 0.99}
"""precision -> smallest allowed share of images with the same answer."""

LEAST = -20.0  # logarithm of a probability below which float32 says nothing exact


@dataclass(frozen=True, kw_only=True)
class Parity:
    """An export compared with its original, on the same images."""

    images: str
    """Which images."""
    n: int
    precision: str
    max_difference: float
    """Largest absolute difference of a logit."""
    max_logit: float
    """Largest absolute logit of the original: what the difference is measured against."""
    equal_top1: float
    """Share of images with the same most probable class."""
    top1_original: float | None
    """Accuracy of the original; None: the images have no labels."""
    top1_export: float | None
    max_drop: float | None
    """int8: points of accuracy that may be lost; None where nothing can be measured."""
    verdict: str
    """"passed", or what is out of bounds."""
    top1_without_vnni: float | None = None
    """int8 for any processor: accuracy of the export in the arithmetic of those without VNNI, where this one has it."""
    sizes: tuple[dict[str, Any], ...] = ()
    """Parity at other sizes: `size` (height, width), `n`, `max_difference`, `equal_top1`, `verdict`."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def compare(
    original: Engine,
    preprocess: Preprocess,
    exported: ExportedEngine,
    split: Split,
    *,
    images: str,
    labeled: bool,
    max_drop: float | None = None,
    workers: int = 0,
) -> Parity:
    """Run both on the images of `split`, each with its own preprocessing, and judge the difference.

    float32 and bf16 are held to `LOGITS` and, on labeled images, `EQUAL` (of a made-up one no class is more probable
    than the next); int8 to `max_drop` points of accuracy. An export that gives probabilities is judged by their
    logarithms.

    Raises:
        DataError: no image could be read; the original's answers are not finite.
    """

    def answers(engine: Engine, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
        feed = batches(split, preprocess, batch_size=engine.batch_size, workers=workers)
        shown = track(feed, description=f"checking {engine.name}", total=len(split), amount=len)
        parts = [(engine.logits_and_features(batch.images)[0], batch.targets) for batch in shown if len(batch)]
        if not parts:
            raise DataError(f"none of {len(split)} images ({images}) could be read: nothing to check parity on")
        return torch.cat([logits for logits, _ in parts]), torch.cat([targets for _, targets in parts])

    expected, targets = answers(original, preprocess)
    finite(expected)
    found, _ = answers(exported, exported.net.preprocess)
    if exported.facts["with_preprocessing"]:
        expected, found = (torch.log_softmax(logits, 1).clamp_min(LEAST) for logits in (expected, found))
    known = targets >= 0

    def accuracy(logits: Tensor) -> float:
        return (logits.argmax(1) == targets)[known].double().mean().item()

    judged = labeled and bool(known.any())
    facts: dict[str, Any] = {
        "max_difference": (found - expected).abs().max().item(),
        "max_logit": expected.abs().max().item(),
        "equal_top1": (found.argmax(1) == expected.argmax(1)).float().mean().item(),
        "top1_original": accuracy(expected) if judged else None,
        "top1_export": accuracy(found) if judged else None,
        "max_drop": max_drop,
    }
    verdict = _verdict(exported.precision, bool(found.isfinite().all()), **facts)
    return Parity(images=images, n=len(targets), precision=exported.precision, verdict=verdict, **facts)


def _verdict(
    precision: str, finite: bool, *, max_difference: float, max_logit: float, equal_top1: float,
    top1_original: float | None, top1_export: float | None, max_drop: float | None,
) -> str:  # fmt: skip
    if not finite:
        return "the export's answers are not finite"
    if precision == "int8":
        if top1_original is None or top1_export is None or max_drop is None:
            return "passed"
        drop = 100 * (top1_original - top1_export)
        return "passed" if drop <= max_drop + 1e-9 else f"{drop:.2f} points of accuracy lost, {max_drop:g} allowed"
    if max_difference > LOGITS[precision] * max_logit:
        return f"a logit differs by {max_difference:.3g}, allowed is {LOGITS[precision]:g} of {max_logit:.3g}"
    if top1_original is not None and equal_top1 < EQUAL[precision]:
        return f"{equal_top1:.2%} of the answers are equal, {EQUAL[precision]:.1%} must be"
    return "passed"

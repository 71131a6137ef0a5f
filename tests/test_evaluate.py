"""Evaluation: counts are exact and add up, metrics equal algebra and scikit-learn, whatever the batches were."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from inceptions.evaluation import (
    Answer,
    Counts,
    Metrics,
    answers,
    collect,
    count,
    coverage_at,
    evaluate,
    fit_temperature,
    log_softmax,
    mean,
    wilson,
)

CLASSES = tuple("abcdefgh")


def some_answers(n: int = 500, classes: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator) * 2
    logits[torch.arange(n), targets] += 2
    return logits, targets


def counted(logits: Tensor, targets: Tensor) -> Counts:
    counts = Counts(logits.shape[1])
    counts.add(logits, targets)
    return counts


def batch_of(logits: Tensor, targets: Tensor, first: int = 0, refused: int = 0) -> SimpleNamespace:
    """A batch whose images are the logits that the model will answer."""
    indices = torch.arange(first, first + len(targets))
    return SimpleNamespace(images=logits, targets=targets, indices=indices, refused=("bad",) * refused)


def test_metrics_equal_scikit_learns() -> None:
    logits, targets = some_answers()
    metrics = Metrics.of(counted(logits, targets), CLASSES)
    guess, probabilities = logits.argmax(1), logits.double().softmax(1)
    assert metrics.n == 500
    assert metrics.top1 == sklearn_metrics.accuracy_score(targets, guess)
    assert metrics.top5 == sklearn_metrics.top_k_accuracy_score(targets, probabilities, k=5)
    assert metrics.loss == pytest.approx(sklearn_metrics.log_loss(targets, probabilities), abs=1e-9)
    assert (metrics.confusion == sklearn_metrics.confusion_matrix(targets, guess)).all()
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(targets, guess)
    assert [one.precision for one in metrics.per_class] == pytest.approx(list(precision))
    assert [one.recall for one in metrics.per_class] == pytest.approx(list(recall))
    assert [one.f1 for one in metrics.per_class] == pytest.approx(list(f1))
    assert [one.support for one in metrics.per_class] == list(support)
    assert metrics.macro_f1 == pytest.approx(sklearn_metrics.f1_score(targets, guess, average="macro"))


def test_a_class_without_images_has_no_recall_and_no_part_in_averages() -> None:
    logits, targets = some_answers(classes=8)
    logits[:, 6:] = -50.0
    targets = targets.clamp(max=4)  # class 5 may be answered, 6 and 7 neither occur nor are answered
    guess = logits.argmax(1)
    metrics = Metrics.of(counted(logits, targets), CLASSES)
    present = range(5)
    assert metrics.macro_f1 == pytest.approx(sklearn_metrics.f1_score(targets, guess, average="macro", labels=present))
    assert (metrics.macro_classes, metrics.missing_classes) == (5, CLASSES[5:8])
    assert metrics.macro_f1_interval[0] <= metrics.macro_f1 <= metrics.macro_f1_interval[1]
    answered, never = metrics.per_class[5], metrics.per_class[7]
    assert answered.predicted > 0
    assert (answered.precision, answered.recall, answered.f1, answered.recall_interval) == (0, None, None, None)
    assert (never.precision, never.recall, never.f1) == (None, None, None)
    assert metrics.to_dict()["missing_classes"] == list(CLASSES[5:8])


def test_a_class_that_is_never_answered_has_no_precision_and_is_all_wrong() -> None:
    metrics = Metrics.of(counted(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])), ("a", "b"))
    assert (metrics.per_class[1].precision, metrics.per_class[1].recall, metrics.per_class[1].f1) == (None, 0, 0)
    assert (metrics.macro_classes, metrics.missing_classes) == (2, ())


def test_counts_are_the_same_for_every_batch_size_order_and_division_among_processes() -> None:
    logits, targets = some_answers()
    targets[::50] = -1
    whole = counted(logits, targets)
    for size in (1, 7, 64):
        assert count(answers(lambda p: p, map(batch_of, logits.split(size), targets.split(size))), 8) == whole
    shuffled = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    assert counted(logits[shuffled], targets[shuffled]) == whole
    assert counted(logits[::2], targets[::2]) + counted(logits[1::2], targets[1::2]) == whole
    assert counted(logits[1:], targets[1:]) != whole


def _reduce(rank: int, world: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    logits, targets = some_answers()
    total = counted(logits[rank::world], targets[rank::world]).all_reduce()
    torch.distributed.destroy_process_group()
    assert total == counted(logits, targets)


def test_processes_sum_their_counts_to_those_of_one(tmp_path: object) -> None:
    torch.multiprocessing.spawn(_reduce, args=(2, str(tmp_path)), nprocs=2)


def test_unreadable_and_unknown_images_are_reported_and_never_judged() -> None:
    logits, targets = some_answers(20)
    targets[:3] = -1
    batches = [batch_of(logits, targets, refused=2), batch_of(logits[:0], targets[:0], refused=1)]

    def model(images: Tensor) -> Tensor:
        assert len(images), "an empty batch is not for a model"
        return images

    metrics = evaluate(model, batches, CLASSES)  # type: ignore[arg-type]
    assert (metrics.n, metrics.skipped, metrics.unknown) == (17, 3, 3)
    assert metrics.top1 == sklearn_metrics.accuracy_score(targets[3:], logits[3:].argmax(1))


def test_nothing_judged_is_an_error_that_says_why() -> None:
    batch = batch_of(torch.zeros(2, 8), torch.tensor([-1, -1]), refused=1)
    with pytest.raises(ValueError, match="1 unreadable, 2 of classes"):
        evaluate(lambda p: p, [batch], CLASSES)  # type: ignore[list-item]


def test_equal_logits_rank_by_class_index() -> None:
    metrics = Metrics.of(counted(torch.zeros(8, 8), torch.arange(8)), CLASSES)
    assert metrics.top1 == 1 / 8
    assert metrics.top5 == 5 / 8
    assert (metrics.confusion[:, 0] == 1).all()


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (torch.full((1, 8), math.nan), torch.tensor([0]), "not finite"),
        (torch.zeros(1, 3), torch.tensor([0]), "8 classes"),
        (torch.zeros(1, 8), torch.tensor([8]), "0 to 7"),
        (torch.zeros(1, 8), torch.tensor([-2]), "-1: unknown"),
    ],
)
def test_answers_that_cannot_be_counted_are_refused(logits: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Counts(8).add(logits, targets)


def test_class_names_must_fit_the_counts() -> None:
    with pytest.raises(ValueError, match="2 class names for counts of 8"):
        Metrics.of(counted(*some_answers()), ["a", "b"])


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (7, 10), (899, 1000), (1, 3)])
def test_wilson_bounds_solve_the_score_equation(right: int, n: int) -> None:
    for bound in wilson(right, n):
        assert (right / n - bound) ** 2 * n == pytest.approx(1.959963984540054**2 * bound * (1 - bound), abs=1e-9)
    assert wilson(right, n)[0] <= right / n <= wilson(right, n)[1]


def test_wilson_of_nothing_is_no_knowledge() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confident = torch.tensor([0.8, 0.2]).log().repeat(10, 1)  # always says class 0 with 80 %
    for right, gap in ((8, 0.0), (10, 0.2), (3, 0.5)):
        targets = (torch.arange(10) >= right).long()
        assert Metrics.of(counted(confident, targets), "ab").ece == pytest.approx(gap, abs=1e-6)


def test_temperature_recovers_the_scale_that_logits_were_multiplied_with() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 5, generator=generator) * 2
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits, targets) == pytest.approx(1, abs=0.03)
    assert fit_temperature(logits * 3, targets) == pytest.approx(3 * fit_temperature(logits, targets), rel=1e-6)


def test_no_temperature_has_a_lower_loss_than_the_fitted_one() -> None:
    logits, targets = some_answers()
    best = fit_temperature(logits, targets)

    def loss(temperature: float) -> float:
        return -log_softmax((logits / temperature).double())[np.arange(len(targets)), targets].mean()

    assert loss(best) < min(loss(best * 1.02), loss(best / 1.02), loss(1.0))


def test_temperature_ignores_unknown_classes_and_needs_a_known_one() -> None:
    logits, targets = some_answers()
    more = torch.cat([logits, torch.eye(8) * 90]), torch.cat([targets, torch.full((8,), -1)])
    assert fit_temperature(*more) == fit_temperature(logits, targets)
    with pytest.raises(ValueError, match="no image"):
        fit_temperature(logits, torch.full_like(targets, -1))


def test_temperature_that_the_images_do_not_determine_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert fit_temperature(torch.eye(4) * 9, torch.arange(4)) == pytest.approx(0.05, rel=0.01)
    assert "do not determine" in caplog.text


def test_coverage_keeps_as_many_answers_as_the_accuracy_allows() -> None:
    confidence = np.array([0.5, 0.9, 0.8, 0.7, 0.6])
    right = np.array([False, True, True, False, True])
    at = coverage_at(0.75, confidence, right)
    assert (at.threshold, at.coverage, at.accuracy, at.n) == (0.6, 0.8, 0.75, 5)
    strict = coverage_at(1.0, confidence, right)
    assert (strict.threshold, strict.coverage, strict.accuracy) == (0.8, 0.4, 1.0)
    assert coverage_at(0.6, confidence, right).coverage == 1.0


def test_coverage_never_parts_equal_confidences() -> None:
    at = coverage_at(1.0, np.array([0.9, 0.9, 0.8]), np.array([True, False, True]))
    assert (at.coverage, at.threshold) == (0.0, 1.0)


@pytest.mark.parametrize("accuracy", [0.0, 1.5, -0.1])
def test_coverage_refuses_impossible_accuracies(accuracy: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        coverage_at(accuracy, np.ones(1), np.ones(1, bool))


def answer(logits: Tensor, indices: list[int]) -> Answer:
    return Answer(logits=logits, targets=torch.zeros(len(indices)).long(), indices=torch.tensor(indices), skipped=0)


def test_ensemble_is_the_mean_of_probabilities_with_classes_matched_by_name() -> None:
    one, other = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.3, 0.1, 0.6]])
    # the second member keeps class 0 at place 2, 1 at 0, 2 at 1
    (together,) = mean([[answer(one.log(), [4])], [answer(other.log() + 5, [4])]], [(0, 1, 2), (2, 0, 1)])
    expected = [[(0.7 + 0.6) / 2, (0.2 + 0.3) / 2, (0.1 + 0.1) / 2]]
    assert np.exp(log_softmax(together.logits)) == pytest.approx(np.array(expected), abs=1e-7)


def test_ensemble_refuses_answers_about_different_images() -> None:
    with pytest.raises(ValueError, match="different images"):
        list(mean([[answer(torch.zeros(1, 2), [0])], [answer(torch.zeros(1, 2), [1])]], [(0, 1), (0, 1)]))


def test_intervals_hold_the_value_and_what_would_come_again() -> None:
    """Of many data sets from one source, about 95 % of the values lie in the interval that a large one gives."""
    generator = torch.Generator().manual_seed(0)

    def metrics(n: int) -> Metrics:
        targets = torch.randint(0, 3, (n,), generator=generator)
        logits = torch.randn(n, 3, generator=generator) + 1.5 * torch.nn.functional.one_hot(targets, 3)
        return Metrics.of(counted(logits, targets), ("a", "b", "c"))

    found, again = metrics(2000), [metrics(2000) for _ in range(60)]
    for name in ("loss", "macro_f1"):
        low, high = getattr(found, f"{name}_interval")
        assert low < getattr(found, name) < high
        spread = torch.tensor([getattr(one, name) for one in again]).double().std()
        assert high - low == pytest.approx(2 * 1.96 * float(spread), rel=0.3)
    low, high = found.ece_interval
    assert 0 <= low <= found.ece <= high < found.ece + 0.05


def test_metrics_become_json() -> None:
    import json

    told = json.loads(json.dumps(Metrics.of(counted(*some_answers()), CLASSES).to_dict()))
    assert {
        "n",
        "top1",
        "top5",
        "loss",
        "skipped",
        "top1_interval",
        "ece",
        "loss_interval",
        "ece_interval",
    } <= told.keys()
    assert told["per_class"][0]["label"] == "a"


def test_an_outcome_names_what_could_not_be_read_even_where_a_whole_batch_could_not() -> None:
    logits, targets = some_answers(6)
    batches = [batch_of(logits[:3], targets[:3], refused=1), batch_of(logits[:0], targets[:0], refused=2)]
    batches.append(batch_of(logits[3:], targets[3:], first=3))
    outcome = collect(answers(lambda p: p, batches), CLASSES)  # type: ignore[arg-type]
    assert (outcome.metrics.skipped, outcome.refused) == (3, ("bad",) * 3)
    assert outcome.indices.tolist() == [*range(6)]
    assert (outcome.best[:, 0] == logits.argmax(1).numpy()).all()


def test_an_outcome_is_in_the_order_of_the_split_however_the_batches_came() -> None:
    logits, targets = some_answers(6)
    late, early = batch_of(logits[3:], targets[3:], first=3), batch_of(logits[:3], targets[:3])
    outcome = collect(answers(lambda p: p, [late, early]), CLASSES, keep_logits=True)  # type: ignore[list-item]
    assert torch.equal(outcome.logits, logits)
    assert (outcome.targets == targets.numpy()).all()
    temperature, calibrated = outcome.calibrated()
    assert temperature == fit_temperature(logits, targets)
    assert calibrated.metrics.loss == pytest.approx(
        -log_softmax(logits.double() / temperature)[range(6), targets].mean(), abs=1e-7
    )

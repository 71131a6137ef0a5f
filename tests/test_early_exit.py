"""Early exit: every image has the answer of the head that it left at, on every engine and on the command line."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import inceptions
from inceptions.cli import main
from inceptions.data import load, write_split
from inceptions.engines import EarlyExit, Engine, open_engine
from inceptions.engines.early_exit import early_exit
from inceptions.engines.prepared import Prepared
from inceptions.image import Preprocess
from inceptions.layers import AuxHead, BatchNorm, Head, branches, convolution, max_pool
from inceptions.weights import artifact
from inceptions.zoo import Network, build
from inceptions.zoo.network import Table
from tiny import saved_again

CLASSES = ("ant", "bee", "wasp", "fly")


def network(heads: int = 2) -> Network:
    """Two stages with heads, that pool as in the papers and adaptively, and one behind; batch norm in all of them."""
    torch.manual_seed(0)
    conv = convolution(BatchNorm(), bias=False)
    head = AuxHead(conv(8), grid=4, hidden=16, drop_rate=0.7)
    table = Table(
        stages=(
            ("stem", conv(8, 3, 2)),
            ("mixed", branches({"one": conv(8), "three": conv(8, 3)})),
            ("pool", max_pool(3, 2)),
            ("last", conv(16, 3)),
        ),
        head=Head(),
        aux=(("mixed", head), ("pool", head))[:heads],
    )
    net = Network(table, num_classes=7, input_size=32)
    net.preprocess = Preprocess(size=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net.forward_with_aux(torch.randn(8, 3, 32, 32) * 2 + 1)
        for module in (net.head, *net.aux.values()):
            module.linear.weight.mul_(8)  # sureness that differs from image to image
        for module in net.aux.values():  # as after training: OpenVINO computes zeros where an 8-bit layer has no bias
            module.hidden.bias.normal_(std=0.1)
    return net


def images(n: int = 24) -> Tensor:
    """Noise around a color of each image's own."""
    generator = torch.Generator().manual_seed(n)
    colors = torch.randint(0, 256, (n, 3, 1, 1), generator=generator)
    return (colors + torch.randint(-60, 60, (n, 3, 32, 32), generator=generator)).clamp(0, 255).to(torch.uint8)


def heads_logits(net: Network, batch: Tensor) -> list[Tensor]:
    """What each head says, the last one's at the end."""
    net = copy.deepcopy(net).eval()
    assert net.preprocess is not None
    with torch.no_grad():
        logits, aux = net.forward_with_aux(net.preprocess.normalize(batch))
    return [*aux.values(), logits]


def by_hand(said: list[Tensor], threshold: float) -> tuple[Tensor, list[int]]:
    """Each image's answer, and which head it is of."""
    sure = torch.stack([one.softmax(1).amax(1) >= threshold for one in said])
    sure[-1] = True
    which = sure.int().argmax(0).tolist()
    return torch.stack([said[head][place] for place, head in enumerate(which)]), which


def dividing(said: list[Tensor]) -> float:
    """A threshold at which some leave at each head, as far from every image's sureness as such a one can be."""
    values = torch.cat([one.softmax(1).amax(1) for one in said[:-1]]).sort().values
    middles = (values[1:] + values[:-1]) / 2
    fitting = [
        (float(high - low), float(middle))
        for low, high, middle in zip(values, values[1:], middles, strict=False)
        if len(set(by_hand(said, float(middle))[1])) == len(said)
    ]
    return max(fitting)[1]


@pytest.fixture(scope="module")
def net() -> Network:
    return network()


@pytest.fixture(scope="module")
def opened(net: Network) -> Callable[[str], EarlyExit]:
    """Each engine once: converting takes seconds."""
    engines: dict[str, EarlyExit] = {}

    def once(name: str) -> EarlyExit:
        if name not in engines:
            threads = None if name == "torch" else 1
            engine = open_engine(net, engine=name, batch_size=5, threads=threads, early_exit=1.0)
            assert isinstance(engine, EarlyExit)
            engines[name] = engine
        return engines[name]

    return once


def test_where_no_head_is_ever_sure_enough_the_answers_are_the_plain_networks(net: Network) -> None:
    plain = open_engine(net, engine="torch", batch_size=5)
    engine = open_engine(net, engine="torch", batch_size=5, early_exit=1.0)
    assert isinstance(engine, EarlyExit)
    assert torch.equal(engine(images()), plain(images()))
    assert (engine.seen, engine.left) == (24, {"mixed": 0, "pool": 0})


def test_where_every_head_is_sure_enough_the_first_answers_and_nothing_behind_it_runs(
    net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(images: Tensor) -> NoReturn:
        raise AssertionError("a part behind the first head ran")

    engine = open_engine(net, engine="torch", early_exit=1e-6)
    assert isinstance(engine, EarlyExit)
    for part in (engine.heads["pool"], engine.rest):
        monkeypatch.setattr(part, "run", run)
    assert torch.allclose(engine(images()), heads_logits(net, images())[0], atol=1e-5)
    assert engine.left == {"mixed": 24, "pool": 0}


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_each_image_has_the_answer_of_the_head_that_it_left_at(
    name: str, net: Network, opened: Callable[[str], EarlyExit]
) -> None:
    said = heads_logits(net, images())
    threshold = dividing(said)
    answers, which = by_hand(said, threshold)
    engine = opened(name).at(threshold)
    assert engine.name == name
    assert torch.allclose(engine(images()), answers, atol=1e-4)
    assert engine.left == {"mixed": which.count(0), "pool": which.count(1)}
    assert all(count > 0 for count in engine.left.values())
    assert sum(engine.left.values()) < engine.seen == 24
    engine(images()[:3])
    assert engine.seen == 27, "shares are of all images so far"


def test_one_threshold_does_not_count_for_another(net: Network) -> None:
    first = open_engine(net, engine="torch", early_exit=1e-6)
    assert isinstance(first, EarlyExit)
    second = first.at(1.0)
    first(images())
    assert (second.seen, second.left) == (0, {"mixed": 0, "pool": 0})


def test_lower_precisions_are_those_of_the_parts(net: Network) -> None:
    said = heads_logits(net, images())
    engine = open_engine(net, engine="torch", precision="bf16", early_exit=1e-6)
    difference = float((engine(images()) - said[0]).abs().max() / said[0].abs().max())
    assert 1e-4 < difference < 5e-2


def test_ranges_of_later_parts_are_measured_on_what_reaches_them(net: Network) -> None:
    seen: list[tuple[Prepared, list[Tensor] | None]] = []

    def remember(part: Prepared, ranges: list[Tensor] | None) -> Engine:
        seen.append((part, ranges))
        return open_engine(net, engine="torch")

    early_exit(net, 0.5, remember, [images(3), images(2)])
    assert net.preprocess is not None
    plain = copy.deepcopy(net).eval()
    with torch.no_grad():
        stages = [plain.forward_stages(plain.preprocess.normalize(batch)) for batch in (images(3), images(2))]
    assert [(part.after, part.until) for part, _ in seen] == [(None, "mixed"), ("mixed", "pool"), ("pool", None)]
    for (part, ranges), of in zip(seen[1:], ("mixed", "pool"), strict=True):
        assert ranges is not None
        for measured, stage in zip(ranges, stages, strict=True):
            assert torch.allclose(measured, stage[of], atol=1e-5)
        assert not part.net.aux, "a part carries no other head"
    assert [torch.equal(a, b) for a, b in zip(seen[0][1] or (), (images(3), images(2)), strict=True)] == [True] * 2


def test_int8_opens_and_answers_nearly_the_same() -> None:
    net = network(heads=1)
    said = heads_logits(net, images())
    engine = open_engine(net, engine="openvino", precision="int8", threads=1, early_exit=1e-6, calibration=[images()])
    assert isinstance(engine, EarlyExit)
    for threshold, logits in ((1e-6, said[0]), (1.0, said[1])):
        answers = engine.at(threshold)(images())
        assert 1e-4 < float((answers - logits).abs().max() / logits.abs().max()) < 0.2


def test_tuning_tunes_every_part(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {1: 10.0, 4: 30.0, 16: 25.0}
    monkeypatch.setattr(Engine, "rate", lambda self, batch, *, seconds: rates[len(batch)])
    engine = open_engine(net, engine="torch", expected=10_000, early_exit=0.5)
    assert isinstance(engine, EarlyExit)
    assert [one.batch_size for one in (engine, *engine.heads.values(), engine.rest)] == [4] * 4
    assert engine.seen == 0


def test_features_of_images_that_left_do_not_exist(net: Network) -> None:
    engine = open_engine(net, engine="torch", early_exit=0.5)
    with pytest.raises(ValueError, match="have no features: run without it"):
        engine.features(images())


def test_what_has_no_early_exit_is_refused_with_what_to_do(net: Network, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train it with --aux"):
        open_engine(network(heads=0), early_exit=0.5)
    for threshold in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            open_engine(net, early_exit=threshold)
    exported = copy.copy(net)
    exported.export = tmp_path
    with pytest.raises(ValueError, match=r"is an export.*needs the run"):
        open_engine(exported, early_exit=0.5)


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("insects")
    for label, start in zip(CLASSES, range(0, 32, 8), strict=True):
        (root / label).mkdir()
        for i, image in enumerate(images(32)[start : start + 8]):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / label / f"{i}.png")
    return root


def classifier(*, aux: bool = True) -> Network:
    torch.manual_seed(3)
    net = build("googlenet", width=0.125, depth=0.4, num_classes=4, stem="small", norm="batch", aux=aux)
    with torch.no_grad():
        for module in (net.head, *net.aux.values()):
            module.linear.weight.mul_(6)
    net.preprocess, net.classes = Preprocess(size=(32, 32)), CLASSES
    return net.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    artifact.save(classifier(), folder / "model", temperature=2.0)
    write_split(load(data), folder / "split.json")
    return folder


@pytest.fixture(scope="module")
def everything(data: Path) -> tuple[list[Path], list[Tensor]]:
    """Every image, and what each head says to it."""
    files = [data / label / f"{i}.png" for label in CLASSES for i in range(8)]
    net = classifier()
    return files, heads_logits(net, torch.stack([torch.from_numpy(net.preprocess.image(file)) for file in files]))


def val(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["val", *map(str, words), "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def whole(data: Path, tmp_path: Path) -> Path:
    """Images of the same pixels, saved again, in a folder that no run has divided."""
    return saved_again(data, tmp_path / "other")


def test_several_thresholds_are_compared_with_the_plain_network(
    run: Path, data: Path, everything: tuple[list[Path], list[Tensor]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    files, said = everything
    truth = torch.tensor([CLASSES.index(file.parent.name) for file in files])
    middle = dividing(said)
    told = val(capsys, run, whole(data, tmp_path), "--early-exit", f"1e-6,{middle}", "--output", tmp_path / "out")
    assert [row["threshold"] for row in told["exits"]] == [None, 1e-6, middle]
    assert told["early_exit"] is None
    for row, threshold in zip(told["exits"], (2.0, 1e-6, middle), strict=True):
        answers, which = by_hand(said, threshold)
        assert row["top1"] == float((answers.argmax(1) == truth).double().mean())
        stages = list(classifier().aux)
        assert row["left"] == {stage: which.count(head) / 32 for head, stage in enumerate(stages)}
        assert row["images_per_second"] > 0
        assert row["ratio"] == row["images_per_second"] / told["exits"][0]["images_per_second"]
    assert told["exits"][1]["ratio"] > 1, "who leaves behind the first block is answered sooner"
    assert told["top1"] == told["exits"][0]["top1"], "the plain network gives everything else"
    assert json.loads((tmp_path / "out" / "val.json").read_text())["exits"] == told["exits"]


def test_with_one_threshold_the_evaluation_runs_so(
    run: Path, data: Path, everything: tuple[list[Path], list[Tensor]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    files, said = everything
    answers, _ = by_hand(said, dividing(said))
    other = whole(data, tmp_path)
    told = val(capsys, run, other, "--early-exit", dividing(said), "--output", tmp_path / "out")
    truth = [CLASSES.index(file.parent.name) for file in files]
    shares = (answers.double() / 2).softmax(1)  # the stored temperature divides every head's logits
    assert told["loss"] == pytest.approx(-float(shares[range(32), truth].log().mean()), abs=1e-5)
    assert told["early_exit"] == dividing(said) == told["exits"][1]["threshold"]
    assert told["ran"] == ["torch, float32"], "what computed, not what was asked for"
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert [row["prediction"] for row in csv.DictReader(file)] == [CLASSES[i] for i in answers.argmax(1)]


def test_people_get_a_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["val", str(run), "--early-exit", "0.5,0.9"]) == 0
    printed = capsys.readouterr().out
    (head,) = (line for line in printed.splitlines() if "images/s" in line)
    assert [word for word in (*classifier().aux, "top1", "ratio") if word not in head] == []
    assert [line for line in ("plain network", "early exit at 0.5", "early exit at 0.9") if line not in printed] == []


def test_predict_answers_with_the_head_that_a_image_left_at(
    run: Path, everything: tuple[list[Path], list[Tensor]], capsys: pytest.CaptureFixture[str]
) -> None:
    files, said = everything
    answers, which = by_hand(said, dividing(said))
    words = [*map(str, files), "--top-k", "1", "--json", "--early-exit", str(dividing(said))]
    assert main(["predict", str(run), *words]) == 0
    captured = capsys.readouterr()
    told = [json.loads(line) for line in captured.out.splitlines()]
    assert np.allclose([one["probability"] for one in told], (answers.double() / 2).softmax(1).amax(1), atol=1e-5)
    assert [one["label"] for one in told] == [CLASSES[i] for i in answers.argmax(1)]
    assert "computed by torch, float32" in captured.err
    assert f"left early: {100 * which.count(0) / 32:.0f} % at {next(iter(classifier().aux))}" in captured.err
    python = inceptions.load(run, early_exit=dividing(said)).predict(files, top_k=1)
    assert [one.label for one in python] == [one["label"] for one in told]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("val", "--early-exit", "1.2"), 2, "--early-exit 1.2: a probability above 0 and at most 1"),
        (("val", "--early-exit", "0.5,0"), 2, "--early-exit 0.5,0: a probability"),
        (("val", "--early-exit", "often"), 2, "--early-exit often: a probability"),
        (("val", "--early-exit", "0.5", "--calibrate"), 2, "leave --calibrate and --ensemble out"),
        (("predict", "p.png", "--early-exit", "2"), 2, "--early-exit 2: a probability"),
        (("predict", "p.png", "--early-exit", "0.5", "--features", "f.npz"), 2, "leave --json, --output and --early"),
        (("val", "--early-exit", "0.5"), 2, "train it with --aux"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    words: tuple[str, ...], code: int, message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact.save(classifier(aux=False), tmp_path / "model")
    write_split(load(data), tmp_path / "split.json")
    verb, *rest = words
    assert main([verb, str(tmp_path), *rest]) == code
    assert message in capsys.readouterr().err

"""Engines: every runtime gives the network's own answers, whatever the batch, and leaves the network as it is."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import inceptions.engines.select as choice
from inceptions.engines import ENGINES, Engine, available, open_engine, support
from inceptions.engines.prepared import Prepared
from inceptions.engines.processor import processor
from inceptions.image import Preprocess
from inceptions.layers import BatchNorm, Head, branches, chain, convolution, max_pool
from inceptions.zoo import Network
from inceptions.zoo.network import Table

EVERY = [  # but what takes long to compile, see test_compiled.py
    (engine, precision)
    for engine, precisions in ENGINES.items()
    if engine != "torch-compiled"
    for precision in precisions
]
TOLERANCE = {"float32": 1e-5, "bf16": 2e-2, "int8": 0.2}  # of the largest logit


def network(seed: int = 0) -> Network:
    """Branches, batch norm and a pool: what the runtimes fold and fuse, small enough to convert often."""
    torch.manual_seed(seed)
    conv = convolution(BatchNorm(), bias=False)
    table = Table(
        stages=(
            ("stem", conv(8, 3, 2)),
            ("mixed", branches({"one": conv(8), "three": chain(conv(4), conv(8, 3))})),
            ("pool", max_pool(3, 2)),
        ),
        head=Head(drop_rate=0.5),
    )
    net = Network(table, num_classes=7, input_size=32)
    net.preprocess = Preprocess(size=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    net.train()
    with torch.no_grad():
        for _ in range(20):  # statistics that batch norm must not forget
            net(torch.randn(8, 3, 32, 32) * 2 + 1)
    return net


def images(n: int = 11, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def expected(net: Network, batch: Tensor) -> tuple[Tensor, Tensor]:
    net = copy.deepcopy(net).eval()
    assert net.preprocess is not None
    with torch.no_grad():
        trunk = net.forward_features(net.preprocess.normalize(batch))
        return net.forward_head(trunk), net.forward_head(trunk, pre_logits=True)


@pytest.fixture(scope="module")
def net() -> Network:
    return network()


CPU = torch.device("cpu")


def is_here(engine: str, precision: str) -> bool:
    """Whether this machine computes so, emulated or not: the one question about hardware that tests ask."""
    return support(engine, precision, CPU).computes == precision


def need(engine: str, precision: str) -> None:
    if not is_here(engine, precision):
        pytest.skip(f"{engine} does not compute in {precision} on this processor ({processor().instruction_set})")


@pytest.fixture(scope="module")
def engines(net: Network) -> dict[tuple[str, str], Engine]:
    """Each engine once: converting takes seconds."""
    return {
        (name, precision): open_engine(
            net,
            engine=name,
            precision=precision,
            batch_size=4,
            threads=None if name == "torch" else 1,  # PyTorch's number is the whole process's
            calibration=images(40).split(8) if precision == "int8" else None,
        )
        for name, precision in EVERY
        if is_here(name, precision)
    }


@pytest.mark.parametrize("which", EVERY, ids="-".join)
@pytest.mark.parametrize("n", [1, 4, 11])
def test_every_engine_gives_the_networks_logits_and_features(
    which: tuple[str, str], n: int, net: Network, engines: dict[tuple[str, str], Engine]
) -> None:
    need(*which)
    logits, features = expected(net, images(n))
    engine = engines[which]
    assert (engine.name, engine.precision) == which
    for answer, truth in ((engine(images(n)), logits), (engine.features(images(n)), features)):
        assert answer.dtype == torch.float32
        assert answer.shape == truth.shape
        assert float((answer - truth).abs().max() / truth.abs().max()) < TOLERANCE[which[1]]


@pytest.mark.parametrize("which", [("torch", "bf16"), ("openvino", "bf16"), ("openvino", "int8")], ids="-".join)
def test_lower_precisions_really_compute_in_them(
    which: tuple[str, str], net: Network, engines: dict[tuple[str, str], Engine]
) -> None:
    need(*which)
    logits, _ = expected(net, images())
    assert float((engines[which](images()) - logits).abs().max() / logits.abs().max()) > 1e-4


@pytest.mark.parametrize("which", [one for one in EVERY if one[1] == "float32"], ids="-".join)
def test_the_probability_of_a_image_does_not_depend_on_its_batch(
    which: tuple[str, str], engines: dict[tuple[str, str], Engine]
) -> None:
    engine, batch = engines[which], images()
    together = engine(batch).softmax(1)
    alone = torch.cat([engine(one) for one in batch.split(1)]).softmax(1)
    assert float((together - alone).abs().max()) <= 1e-6


@pytest.mark.parametrize("which", [one for one in EVERY if one[1] == "float32"], ids="-".join)
def test_every_engine_takes_other_sizes_and_fractional_values(
    which: tuple[str, str], net: Network, engines: dict[tuple[str, str], Engine]
) -> None:
    batch = images(2, size=45).float() + 0.4
    logits, _ = expected(net, batch)
    assert torch.allclose(engines[which](batch), logits, atol=1e-5)
    assert not torch.allclose(logits, expected(net, batch.floor())[0], atol=1e-4)


def test_the_callers_network_stays_as_it_is(net: Network) -> None:
    before = copy.deepcopy(net.state_dict())
    engine = open_engine(net, engine="torch")
    engine(images())
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())
    answer = engine(images())
    with torch.no_grad():
        net.head.linear.weight.mul_(2)
        assert torch.equal(engine(images()), answer), "the engine must not see later training"
        net.head.linear.weight.div_(2)


def test_features_can_train_a_head(net: Network) -> None:
    features = open_engine(net, engine="torch").features(images())
    head = torch.nn.Linear(net.num_features, 2)
    head(features).sum().backward()
    assert head.weight.grad is not None


@pytest.mark.parametrize("shape", [(3, 32, 32), (0, 3, 32, 32)])
def test_what_is_no_batch_is_refused(net: Network, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape("(N, C, H, W) with N >= 1")):
        open_engine(net, engine="torch")(torch.zeros(shape, dtype=torch.uint8))


def test_a_network_without_preprocessing_is_refused() -> None:
    bare = network()
    bare.preprocess = None
    with pytest.raises(ValueError, match=r"set net\.preprocess"):
        open_engine(bare)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "one of auto, openvino"),
        ({"precision": "fp8"}, "one of auto, float32"),
        ({"engine": "onnxruntime", "precision": "bf16"}, "only float32; openvino, torch-compiled, torch"),
        ({"engine": "openvino", "precision": "int8"}, "calibration="),
        ({"engine": "openvino", "device": "meta"}, "runs on the CPU"),
        ({"batch_size": 0}, "at least one image"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_what_can(net: Network, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_engine(net, **options)  # type: ignore[arg-type]


def test_an_engine_that_is_not_installed_says_how_to_get_it(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: object() if name == "torch" else None)
    monkeypatch.setattr(choice, "compiler", lambda: None)
    assert available() == ("torch",)
    with pytest.raises(ValueError, match=r"pip install 'inceptions\[deploy\]' \(installed: torch\)"):
        open_engine(net, engine="openvino")
    with pytest.raises(ValueError, match="int8 needs OpenVINO"):
        open_engine(net, precision="int8", calibration=[images()])


def test_tuning_keeps_the_batch_size_with_the_best_rate(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {1: 10.0, 4: 30.0, 16: 25.0, 64: 99.0}
    tried = []

    def rate(self: Engine, batch: Tensor, *, seconds: float) -> float:
        assert batch.is_contiguous(), "making it so would be measured too"
        tried.append(len(batch))
        return rates[len(batch)] if len(tried) != 5 else 1.0  # another program had the machine

    monkeypatch.setattr(Engine, "rate", rate)
    engine = open_engine(net, engine="torch", expected=10_000)
    assert engine.batch_size == 4
    assert tried == [1, 4, 16] * 3, "a worse size ends the search; what a disturbance costs is not one size's"
    assert open_engine(net, engine="torch", expected=10_000, batch_size=7).batch_size == 7


def test_tuning_openvino_keeps_no_copy_of_the_weights_for_sizes_it_does_not_use(
    engines: dict[tuple[str, str], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    vino, rate = engines["openvino", "int8"], Engine.rate
    rates = {1: 10.0, 2: 30.0, 4: 25.0}
    monkeypatch.setattr(Engine, "rate", lambda self, batch, *, seconds: rate(self, batch) * 0 + rates[self.batch_size])
    before = vino.batch_size
    vino.batch_size = 8
    vino(images(64))
    (streams,) = (graph for key, graph in vino._graphs.items() if key[1] == torch.uint8)  # type: ignore[attr-defined]
    assert 8 in {shape[0] for shape in streams._queues}
    vino.tune(images(1)[0])
    assert vino.batch_size == 2
    assert {shape[0] for shape in streams._queues} == {2}
    vino.tune(images(1)[0], most=1)
    assert vino.batch_size == 1, "a call brings no more"
    vino.batch_size = before


def test_openvino_asks_for_enough_images_to_keep_its_streams_busy(net: Network) -> None:
    for threads, size in ((1, 2), (3, 4)):
        vino = open_engine(net, engine="openvino", batch_size=size, threads=threads)
        assert vino.at_once == 8 * threads * size
    assert open_engine(net, engine="torch", batch_size=5).at_once == 5


def test_threads_reach_every_runtime(net: Network, engines: dict[tuple[str, str], Engine]) -> None:
    onnx, vino = engines["onnxruntime", "float32"], engines["openvino", "float32"]
    for engine in (onnx, vino):
        engine(images(1))
    sessions = onnx._sessions.values()  # type: ignore[attr-defined]
    assert [session.get_session_options().intra_op_num_threads for session in sessions] == [1] * len(sessions)
    ready = [one for graph in vino._graphs.values() for one in graph._single.values()]  # type: ignore[attr-defined]
    models = [one.get_compiled_model() for one in ready]
    assert [model.get_property("INFERENCE_NUM_THREADS") for model in models] == [1] * len(ready) != []
    before = torch.get_num_threads()
    try:
        open_engine(net, engine="torch", threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_openvino_answers_one_image_on_all_threads_and_many_on_streams(net: Network) -> None:
    vino = open_engine(net, engine="openvino", batch_size=4, threads=2)
    vino(images(1))
    (streams,) = vino._graphs.values()  # type: ignore[attr-defined]
    assert not streams._queues, "streams would make one image slower"
    for count in (2, 11, 70):  # too few for the streams; requests of 4 and a rest; many
        logits, features = expected(net, images(count))
        answers = vino.logits_and_features(images(count))
        assert torch.allclose(answers[0], logits, atol=1e-5)
        assert torch.allclose(answers[1], features, atol=1e-5)
    (single,), ((shape, queue),) = streams._single.values(), streams._queues.items()
    assert shape[0] == 4
    for request, hint in ((single, "LATENCY"), (queue[0], "THROUGHPUT")):
        model = request.get_compiled_model()
        assert str(model.get_property("PERFORMANCE_HINT")).endswith(hint)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        assert model.get_property("INFERENCE_NUM_THREADS") == min(2, cores), "it takes no more than there are"


def test_batch_norm_is_folded_and_the_head_stays_exact_in_bf16(net: Network) -> None:
    prepared = Prepared(net)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in prepared.modules())
    prepared.in_bf16()
    assert {parameter.dtype for parameter in prepared.net.body.parameters()} == {torch.bfloat16}
    logits, features = prepared(images())
    assert torch.equal(features @ prepared.net.head.linear.weight.T + prepared.net.head.linear.bias, logits)


def test_normalization_lies_in_the_converted_graph(engines: dict[tuple[str, str], Engine]) -> None:
    vino = engines["openvino", "float32"]
    vino(images(1))
    graphs = vino._graphs  # type: ignore[attr-defined]
    assert str(graphs[torch.Size([3, 32, 32]), torch.uint8].graph.input(0).element_type) == "<Type: 'uint8_t'>"


PHONE = """
import socket, sys

def refuse(*arguments, **options):
    print("PHONED", arguments, file=sys.stderr, flush=True)
    raise OSError("no network in this test")

socket.getaddrinfo = socket.socket.connect = socket.create_connection = refuse
import inceptions.engines.openvino
import openvino, nncf
"""


def _talk(source: Path, home: Path) -> str:
    """What importing the room and both packages says where nothing hints at a test: no CI, no pytest, a fresh home."""
    hidden = ("CI", "PYTEST", "TF_BUILD", "JENKINS", "GITHUB", "GITLAB", "TRAVIS")
    environment = {key: value for key, value in os.environ.items() if not key.upper().startswith(hidden)}
    home.mkdir()
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", PHONE], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_openvino_does_not_phone_home(tmp_path: Path) -> None:
    assert "PHONED" not in _talk(Path(choice.__file__).parents[2], tmp_path / "quiet")


@pytest.mark.slow
def test_openvino_would_phone_home_without_our_line(tmp_path: Path) -> None:
    shutil.copytree(
        Path(choice.__file__).parents[1],
        tmp_path / "src" / "inceptions",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    room = tmp_path / "src/inceptions/engines/openvino.py"
    lines = room.read_text().splitlines()
    without = [line for line in lines if not line.startswith('sys.modules["openvino_telemetry"] = None')]
    assert len(without) == len(lines) - 1
    room.write_text("\n".join(without))
    assert "PHONED" in _talk(tmp_path / "src", tmp_path / "talkative"), "this test no longer proves anything"

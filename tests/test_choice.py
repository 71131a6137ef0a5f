"""The engine that `auto` takes: none is converted for little work; for much, the fastest by measurement on the network
at hand, which is kept. The clock is a stand-in: no test here depends on how fast a machine is."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import inceptions.engines.measured as measured
import inceptions.engines.select as choice
from inceptions.engines import Engine, open_engine
from inceptions.engines.measured import best, key, remember, remembered
from inceptions.engines.onnx_runtime import OnnxRuntimeEngine
from inceptions.engines.openvino import OpenVinoEngine
from inceptions.engines.processor import Processor
from inceptions.zoo import Network
from tests.test_engines import images, network

MUCH = 10_000
Race = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INCEPTIONS_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "engines"


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Race:
    """Every engine is as fast as it is said to be, and nothing is converted; returns the list of who was timed."""

    def run(self: OnnxRuntimeEngine | OpenVinoEngine, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.prepared(images)  # type: ignore[no-any-return]

    def become(**rates: float) -> list[str]:
        timed: list[str] = []

        def rate(self: Engine, batch: Tensor) -> float:
            timed.append(self.name)
            return rates[self.name]

        monkeypatch.setattr(Engine, "rate", rate)
        for engine in (OnnxRuntimeEngine, OpenVinoEngine):
            monkeypatch.setattr(engine, "_run", run)
        monkeypatch.setattr(choice, "available", lambda: tuple(name for name in choice.ENGINES if name in rates))
        return timed

    return become


def opened(net: Network, expected: int = MUCH, **options: object) -> Engine:
    return open_engine(net, expected=expected, batch_size=4, device="cpu", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("fastest", ["openvino", "onnxruntime", "torch"])
def test_the_fastest_is_taken_whichever_it_is_and_v_says_what_was_measured(
    fastest: str, rates: Race, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "inceptions")
    speeds = {"openvino": 100.0, "onnxruntime": 100.0, "torch": 100.0} | {fastest: 150.0}
    rates(**speeds)
    engine = opened(network())
    assert engine.name == fastest
    assert engine.reason.startswith(f"the fastest here in float32: {fastest} 150, ")
    assert str(engine) in caplog.text
    truth = open_engine(network(), engine="torch", device="cpu")(images())
    assert torch.allclose(engine(images()), truth, atol=1e-5)


def test_little_work_is_not_measured(rates: Race) -> None:
    timed = rates(openvino=1000.0, onnxruntime=1000.0, torch=100.0)
    assert opened(network(), expected=5).name == "torch"
    assert timed == []
    engine = opened(network(), expected=2_000)
    assert (engine.name, timed) == ("torch", ["torch"])
    assert "about 20 s for 2000 images" in engine.reason


def test_a_measurement_is_kept_and_holds_for_this_network_machine_and_version_only(
    rates: Race, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = rates(openvino=90.0, onnxruntime=120.0, torch=100.0)
    assert opened(network()).name == "onnxruntime"
    assert len(list(kept.iterdir())) == 1
    timed.clear()
    assert opened(network(seed=1)).name == "onnxruntime", "other weights are as fast"
    assert timed == []
    small = network()
    small.body = small.body[:1]
    one = Processor(model="another", architecture="x86_64", features=frozenset({"avx2"}), cores=2)
    keys = {key(network(), "float32", 2, 4), key(small, "float32", 2, 4), key(network(), "bf16", 2, 4)}
    keys |= {key(network(), "float32", 1, 4), key(network(), "float32", 2, None)}
    monkeypatch.setattr(measured, "processor", lambda: one)
    keys |= {key(network(), "float32", 2, 4)}
    monkeypatch.setattr(measured, "version", lambda name: "99")
    assert len(keys | {key(network(), "float32", 2, 4)}) == 7


@pytest.mark.parametrize(
    "damage", ["", "[]", '{"rates": {"torch": "fast"}}', '{"rates": {"torch": -1, "openvino": 2}}']
)
def test_a_damaged_measurement_is_taken_again(damage: str, rates: Race, kept: Path) -> None:
    timed = rates(onnxruntime=120.0, torch=100.0)
    opened(network())
    (file,) = kept.iterdir()
    file.write_text(damage)
    timed.clear()
    assert opened(network()).name == "onnxruntime"
    assert timed
    assert json.loads(file.read_text())["rates"] == {"onnxruntime": 120.0, "torch": 100.0}


def test_what_cannot_be_kept_costs_a_line(rates: Race, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inceptions")
    kept.parent.write_text("a file where a folder should be")
    rates(onnxruntime=120.0, torch=100.0)
    assert opened(network()).name == "onnxruntime"
    assert sum("cannot keep the measured speeds" in one.message for one in caplog.records) == 1


def test_an_engine_that_does_not_run_the_network_is_left_out_and_not_tried_again(
    rates: Race, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: OnnxRuntimeEngine, inputs: Tensor) -> None:
        raise RuntimeError("no kernel")

    rates(onnxruntime=120.0, torch=100.0)
    monkeypatch.setattr(OnnxRuntimeEngine, "_run", fail)
    assert opened(network()).name == "torch"
    assert "onnxruntime does not run this network here (RuntimeError: no kernel)" in caplog.text
    caplog.clear()
    assert opened(network()).name == "torch"
    assert not caplog.records


def test_engines_that_are_as_fast_as_each_other_are_taken_in_one_order() -> None:
    assert best({"openvino": 99.0, "onnxruntime": 100.0, "torch": 80.0}) == "openvino"
    assert best({"openvino": 90.0, "onnxruntime": 99.0, "torch": 100.0}) == "onnxruntime"
    remember("name", {"torch": 0.0})
    assert remembered("name") == {}, "where nothing ran nothing is known"


def test_a_single_engine_is_not_measured(rates: Race) -> None:
    timed = rates(openvino=100.0, torch=100.0)
    assert opened(network(), precision="int8", calibration=[images()]).name == "openvino"
    assert timed == []


def test_an_early_exit_takes_the_engine_that_is_fastest_for_the_whole(rates: Race) -> None:
    from tests.test_early_exit import network as with_heads

    rates(onnxruntime=120.0, torch=100.0)
    engine = opened(with_heads(), early_exit=0.5)
    assert (engine.name, {one.name for one in engine.heads.values()}) == ("onnxruntime", {"onnxruntime"})  # type: ignore[attr-defined]


def test_a_network_without_preprocessing_is_refused_before_anything_is_timed(rates: Race) -> None:
    timed = rates(onnxruntime=120.0, torch=100.0)
    bare = network()
    bare.preprocess = None
    with pytest.raises(ValueError, match=r"set net\.preprocess"):
        opened(bare)
    assert timed == []

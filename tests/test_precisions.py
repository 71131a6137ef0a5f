"""Precisions: what is said is what runs, and what this processor lacks is refused or said, never taken in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import inceptions.engines.openvino as open_vino
import inceptions.engines.precisions as room
import inceptions.engines.select as choice
from inceptions.engines import EarlyExit, Runtime, fast_bf16, open_engine, resolved, support
from inceptions.engines.precisions import executed, said
from inceptions.engines.processor import Processor, processor
from tests.test_early_exit import network as with_heads
from tests.test_engines import CPU, images, is_here, need, network

AVX2 = ("avx2", "fma")
ZEN4 = (*AVX2, "avx512", "avx512_vnni", "avx512_bf16")

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A stand-in for the processor and for OpenVINO's answer to what it would execute."""

    def become(*features: str, openvino: dict[str, str | None] | None = None) -> None:
        one = Processor(model="stand-in", architecture="x86_64", features=frozenset(features), cores=2)
        for place in (room, choice, open_vino):
            monkeypatch.setattr(place, "processor", lambda: one)
        if openvino is not None:
            monkeypatch.setattr(room, "_tried", lambda precision, here: openvino[precision])

    return become


def test_openvino_that_would_compute_float32_is_refused_by_name_and_not_taken_by_auto(machine: Machine) -> None:
    machine(*AVX2, openvino={"bf16": "float32", "int8": "int8"})
    with pytest.raises(
        ValueError, match=r"bf16 is not computed here: OpenVINO computes float32 .*\(AVX2\).*float32, or"
    ):
        open_engine(network(), engine="openvino", precision="bf16")
    machine(*AVX2, openvino={"bf16": None, "int8": "int8"})
    with pytest.raises(ValueError, match=r"OpenVINO has no bf16 on this processor \(AVX2\)"):
        resolved(Runtime(engine="openvino", precision="bf16", device="cpu"))
    assert resolved(Runtime(engine="openvino", precision="auto", device="cpu")).precision == "float32"
    assert support("openvino", "int8", CPU).pays


def test_emulated_bf16_runs_with_a_warning_that_says_what_it_computes(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine(*AVX2, openvino={"bf16": "float32", "int8": "int8"})
    for name in ("torch", "auto"):
        caplog.clear()
        engine = open_engine(network(), engine=name, precision="bf16", device="cpu")
        assert (engine.name, engine.precision, engine.emulated) == ("torch", "bf16", True)
        assert "emulated in float32" in str(engine)
        (line,) = [one.message for one in caplog.records if one.levelno == logging.WARNING]
        assert "computed in float32, which is slower than float32" in line
    caplog.clear()
    early = open_engine(with_heads(), engine="torch", precision="bf16", early_exit=0.5, device="cpu")
    assert isinstance(early, EarlyExit)
    assert "emulated" in early.computes
    assert "emulated" in early.at(0.9).computes
    assert len(caplog.records) == 1, "said once, not for every part"


def test_where_the_processor_multiplies_in_bf16_nothing_is_said(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine(*ZEN4, openvino={"bf16": "bf16", "int8": "int8"})
    engine = open_engine(network(), engine="torch", precision="bf16", device="cpu")
    assert not engine.emulated
    assert not caplog.records
    assert engine.executed == {"bf16": 4, "float32": 1}, "the classifier stays in float32"
    assert "bf16 (4 layers; float32 1)" in str(engine)


def test_auto_precision_is_bf16_only_where_the_device_is_fast_in_it_and_says_the_other(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "inceptions")
    net = network()
    for features, precision in ((ZEN4, "bf16"), (AVX2, "float32")):
        caplog.clear()
        machine(*features, openvino={"bf16": precision, "int8": "int8"})
        assert open_engine(net, precision="auto", device="cpu").precision == precision
        assert open_engine(net, engine="onnxruntime", precision="auto").precision == "float32"
        assert ("has no bf16" in caplog.text) == (precision == "float32")
        assert fast_bf16(CPU) == (precision == "bf16")
    assert open_engine(net, device="cpu").precision == "float32", "nobody gets bf16 without asking"


def test_a_runtime_that_falls_back_all_the_same_is_told_by_what_it_ran(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "_tried", lambda precision, here: "bf16")
    monkeypatch.setattr(open_vino, "HINTS", {"bf16": "f32"})
    engine = open_engine(network(), engine="openvino", precision="bf16", batch_size=2, threads=1)
    engine(images(1))
    assert (engine.precision, set(engine.executed)) == ("float32", {"float32"})
    assert "OpenVINO computes float32, not bf16" in caplog.text


def test_eight_bits_without_vnni_are_said_to_saturate(machine: Machine) -> None:
    machine(*AVX2, openvino={"int8": "int8"})
    assert "saturate" in support("openvino", "int8", CPU).note
    machine(*ZEN4, openvino={"int8": "int8"})
    assert support("openvino", "int8", CPU).note == ""


def test_what_int8_leaves_unquantized_runs_in_bf16_where_the_processor_has_it(machine: Machine) -> None:
    machine(*ZEN4)
    assert open_vino.hint("int8") == "bf16"
    machine(*AVX2)
    assert [open_vino.hint(precision) for precision in ("int8", "float32")] == ["f32", "f32"]


def test_no_engine_has_what_it_was_never_made_for() -> None:
    for engine, precision in (("onnxruntime", "bf16"), ("torch", "int8"), ("tensorrt", "float32")):
        one = support(engine, precision, CPU)
        assert (one.computes, one.pays, one.emulated) == (None, False, False)


def _answer(**facts: str) -> Any:
    """A layer of OpenVINO's runtime model."""
    return SimpleNamespace(get_rt_info=lambda: facts)


def test_layers_that_multiply_are_counted_by_what_the_runtime_says() -> None:
    layers = [
        *[_answer(layerType="Convolution", runtimePrecision="u8")] * 3,
        _answer(layerType="FullyConnected", runtimePrecision="bf16"),
        _answer(layerType="Pooling", runtimePrecision="f32"),
        _answer(layerType="Const", runtimePrecision="f32"),
    ]
    model = SimpleNamespace(get_runtime_model=lambda: SimpleNamespace(get_ops=lambda: layers))
    assert executed(model) == {"int8": 3, "bf16": 1}
    assert said({"int8": 3, "bf16": 1}) == "int8 (3 layers; bf16 1)"
    assert said({"float32": 9}) == "float32"
    assert said({"bf16": 9}, emulated=True) == "bf16 (emulated in float32)"


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8"])
def test_openvino_runs_what_is_said(precision: str) -> None:
    need("openvino", precision)
    calibration = images(40).split(8) if precision == "int8" else None
    engine = open_engine(
        network(), engine="openvino", precision=precision, batch_size=4, threads=1, calibration=calibration
    )
    assert engine.executed == {}
    engine(images(1))
    assert next(iter(engine.executed)) == engine.precision == precision


def test_the_stand_ins_answer_is_the_runtimes_on_this_machine() -> None:
    bf16 = support("openvino", "bf16", CPU)
    assert bf16.pays <= processor().has_bf16
    assert bf16.computes in (None, "bf16", "float32", "float16")
    assert is_here("openvino", "float32")
    assert is_here("torch", "bf16"), "emulated at least"


def test_a_gpu_is_asked_whether_it_emulates(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, fast=fast: fast)
        one = support("torch", "bf16", torch.device("cuda"))
        assert (one.pays, one.emulated) == (fast, not fast)

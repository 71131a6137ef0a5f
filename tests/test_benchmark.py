"""Benchmarks: every combination that exists, in turns, against the machine's own limit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

import inceptions.deploy.benchmark as room
import inceptions.deploy.peak as peak
from inceptions.anatomy import cost
from inceptions.deploy.benchmark import benchmark, cases, lines, seconds_needed, together
from inceptions.deploy.peak import Limit, Peak, register_gops
from inceptions.deploy.turns import Case, Opened, TooLongError
from inceptions.engines import Support
from inceptions.engines.processor import Processor
from inceptions.zoo import build


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: an AVX2 processor, on which OpenVINO has no bf16 and PyTorch emulates it."""

    def support(engine: str, precision: str, device: torch.device) -> Support:
        computes = "float32" if (engine, precision) == ("openvino", "bf16") else precision
        pays = precision != "bf16"
        return Support(engine=engine, precision=precision, computes=computes, pays=pays, note="" if pays else "no bf16")

    monkeypatch.setattr(room, "support", support)


def test_cases_are_the_combinations_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "support", lambda e, p, _: Support(engine=e, precision=p, computes=p, pays=True))
    found = cases(["a", "b"], engines=["torch"], precisions=None, batches=[1, 16], threads=[2], device="cpu")
    assert len(found) == 2 * 2 * 2
    assert {(case.engine, case.precision) for case in found} == {("torch", "float32"), ("torch", "bf16")}
    assert found[0] == Case(model="a", engine="torch", precision="float32", batch=1, threads=2, device="cpu")


@pytest.mark.parametrize(("engines", "precisions"), [(["tensorrt"], None), (["torch"], ["fp4"]), (["torch"], ["int8"])])
def test_what_does_not_exist_here_is_said(engines: list[str], precisions: list[str] | None) -> None:
    with pytest.raises(ValueError, match=r"not here|no engine"):
        cases(["a"], engines=engines, precisions=precisions, batches=[1], threads=[1])


def test_a_gpu_runs_what_pytorch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def devices(device: str | None) -> set[tuple[str, str]]:
        found = cases(["a"], engines=["torch", "openvino"], precisions=None, batches=[1], threads=[1], device=device)
        return {(case.engine, case.device) for case in found}

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    assert devices(None) == devices("cuda") == {("torch", "cuda"), ("openvino", "cpu")}
    assert devices("cpu") == {("torch", "cpu"), ("openvino", "cpu")}
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert devices(None) == {("torch", "cpu"), ("openvino", "cpu")}
    for wrong in ("cuda", "tpu"):
        with pytest.raises(ValueError, match=f"device {wrong}: cpu, or cuda where"):
            devices(wrong)


def test_what_the_processor_lacks_is_left_out_and_said(machine: None, caplog: pytest.LogCaptureFixture) -> None:
    def pairs(precisions: list[str] | None) -> set[tuple[str, str]]:
        found = cases(["a"], engines=["openvino", "torch"], precisions=precisions, batches=[1, 16], threads=[1])
        return {(case.engine, case.precision) for case in found}

    assert pairs(None) == {("openvino", "float32"), ("openvino", "int8"), ("torch", "float32")}
    assert "openvino bf16 is left out: no bf16" in caplog.text
    assert "torch bf16 is left out: no bf16" in caplog.text
    assert pairs(["bf16"]) == {("torch", "bf16")}, "emulated: only where it is named"
    (case,) = cases(["a"], engines=["torch"], precisions=["bf16"], batches=[1], threads=[2], device="cpu")
    assert room._key(case) == ("cpu", 2, "float32"), "emulated bf16 is float32's arithmetic"
    assert room._most(case) == room.PATIENCE


def test_only_as_many_processes_are_alive_as_fit_in_memory_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    def fits(cores: int, gib: float) -> int:
        pages = {"SC_AVPHYS_PAGES": int(gib * 2**30), "SC_PAGE_SIZE": 1}
        monkeypatch.setattr(room.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        monkeypatch.setattr(room.os, "sysconf_names", pages, raising=False)
        monkeypatch.setattr(room.os, "sysconf", pages.__getitem__, raising=False)
        return together(15)

    assert [fits(1, 64), fits(2, 64), fits(2, 4), fits(2, 0.1), fits(64, 64), fits(64, 7)] == [1, 2, 1, 1, 4, 2]


@dataclass
class Fake:
    """A process that answers at once, or never; how many are alive is counted."""

    alive = 0
    most = 0
    slow = ""

    def __init__(self, serve: Callable[..., None], name: str, *arguments: Any) -> None:
        self.name, self.arguments = name, arguments
        Fake.alive += 1
        Fake.most = max(Fake.most, Fake.alive)

    def receive(self, seconds: float) -> Any:
        if Fake.slow and Fake.slow in self.name:
            raise TooLongError(f"{self.name}: not done after {seconds:.0f} s")
        if self.name == "the limit":
            return True
        logits = np.eye(3, dtype=np.float32)
        case, batches, _ = self.arguments
        memory = tuple(range(len(batches)))
        return Opened(logits, 10**9, 1.0, 7, case.precision, f"{case.precision} (all)", memory)

    def ask(self, question: object, seconds: float) -> Any:
        if self.name == "the limit":
            found = Peak(gops=100.0, by="a kernel", register_gops=110.0, assumed="units")
            return dict.fromkeys(self.arguments[0], found)
        return [[0.1 * batch] for batch in self.arguments[1]]

    def close(self) -> None:
        Fake.alive -= 1


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    Fake.alive = Fake.most = 0
    Fake.slow = ""
    monkeypatch.setattr(room, "Process", Fake)
    monkeypatch.setattr(room, "together", lambda count: min(count, 2))
    return Fake


WANTED = [
    Case(model="a", engine=engine, precision=precision, batch=batch, threads=1, device="cpu")
    for engine, precision in (("openvino", "float32"), ("openvino", "int8"), ("torch", "float32"))
    for batch in (1, 2)
]


def test_a_benchmark_says_beforehand_how_long_it_takes_and_keeps_few_processes(
    processes: type[Fake], machine: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "inceptions")
    found = benchmark(WANTED, rounds=2)
    assert "6 cases in 3 processes, 2 at a time: about " in caplog.text
    assert [(one.engine, one.precision, one.batch) for one in found] == [
        (case.engine, case.precision, case.batch) for case in WANTED
    ]
    assert (processes.alive, processes.most) == (0, 2)
    assert [one.share_of_peak for one in found] == pytest.approx([10 * 2 / 100] * 6)
    assert found[1].peak_memory == 1, "of its own size of a batch"
    assert found[0].to_dict()["computes"] == "float32 (all)"
    assert found[0].to_dict()["instruction_set"]
    assert next(lines(found)).startswith("float32 on cpu, 1 threads: limit 100 GOP/s (a kernel); registers 110 GOP/s")


def test_what_takes_too_long_is_left_out_and_said(
    processes: type[Fake], machine: None, caplog: pytest.LogCaptureFixture
) -> None:
    processes.slow = "in int8"
    found = benchmark(WANTED, rounds=2)
    assert {one.precision for one in found} == {"float32"}
    assert "a on openvino in int8, 1 threads: not done after 300 s: left out" in caplog.text
    assert processes.alive == 0


def test_a_share_above_one_is_said_loudly(
    processes: type[Fake], machine: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Fake, "ask", lambda self, question, seconds: (
        dict.fromkeys(self.arguments[0], Peak(gops=10.0, by="a kernel", register_gops=None, assumed="not known"))
        if self.name == "the limit" else [[0.1] for _ in self.arguments[1]]
    ))  # fmt: skip
    (one, *_) = benchmark(WANTED[:1], rounds=1)
    assert one.share_of_peak == pytest.approx(2.0)
    assert "is at 200 % of the limit: the limit (a kernel) is wrong" in caplog.text


def test_all_of_one_network_on_two_cores_is_reckoned_within_six_minutes() -> None:
    pairs = [("openvino", "float32"), ("openvino", "bf16"), ("openvino", "int8"), ("onnxruntime", "float32")]
    pairs += [(engine, precision) for engine in ("torch-compiled", "torch") for precision in ("float32", "bf16")]
    groups = [
        [Case(model="a", engine=e, precision=p, batch=batch, threads=2, device="cpu") for batch in (1, 16)]
        for e, p in pairs
    ]
    assert seconds_needed(groups, 2, 5, 1.0) < 360


def test_the_limit_is_the_best_of_all_kernels_over_all_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([2.0, 1.0, 4.0, 0.5])
    monkeypatch.setattr(peak, "kernels", lambda *_: iter([("a", 10**9, id), ("b", 10**9, id)]))
    monkeypatch.setattr(peak, "_fastest", lambda run, _: next(seconds))
    monkeypatch.setattr(peak, "clock", lambda: None)
    limit = Limit("float32", "cpu", torch.get_num_threads())
    assert (limit.turn(1.0).gops, limit.turn(1.0).gops) == (1.0, 2.0)
    assert limit.turn.__self__.best == (2.0, "b")  # type: ignore[attr-defined]


def test_several_kernels_are_measured_in_each_precision_and_what_is_missing_is_passed_over() -> None:
    for precision in ("float32", "int8"):
        names = [name for name, operations, _ in peak.kernels(precision, "cpu", 1) if operations > 0]
        assert sum("torch" in name for name in names) == len(peak.SIDES["cpu"])
        assert len(names) > len(peak.SIDES["cpu"])


def made(maker: str, *features: str, architecture: str = "x86_64") -> Processor:
    return Processor(model="", architecture=architecture, features=frozenset(features), cores=64, maker=maker)


@pytest.mark.parametrize(
    ("here", "gops"),
    [
        (made("AuthenticAMD 25 33", "fma", "avx2"), {"float32": 64, "int8": 128, "bf16": None}),  # Zen 3
        (
            made("AuthenticAMD 25 17", "fma", "avx2", "avx512", "avx512_vnni", "avx512_bf16"),  # Zen 4
            {"float32": 64, "int8": 256, "bf16": 128},
        ),
        (made("GenuineIntel 6 85", "fma", "avx2", "avx512"), {"float32": 128, "int8": 256}),  # Skylake-X
        (made("GenuineIntel 6 85", "fma", "avx2"), {"float32": 64}),  # the same, kept to 256 bits
        (made("GenuineIntel 6 143", "fma", "avx2", "avx512", "amx_int8", "amx_bf16"), {"int8": 4096, "bf16": 2048}),
        (made("0xd40", "neon", "bf16", architecture="arm64"), {"float32": 64, "bf16": None, "int8": None}),
        (made("GenuineIntel 6 9999", "fma", "avx2"), {"float32": None}),
        (made("", "fma", "avx2"), {"float32": None}),
    ],
)
def test_the_registers_bound_follows_from_units_and_clock_or_is_not_known(
    here: Processor, gops: dict[str, float | None]
) -> None:
    for precision, expected in gops.items():
        bound, assumed = register_gops(here, precision, 1, 2e9)
        assert bound == expected, precision
        assert ("not known" in assumed) == (expected is None)
        assert register_gops(here, precision, 1, None)[0] is None
        if expected is not None:
            assert register_gops(here, precision, 4, 2e9)[0] == 4 * expected


def test_the_measured_clock_is_one_of_a_processor_or_not_known() -> None:
    hertz = peak.clock()
    assert hertz is None or hertz > 1e8


@pytest.mark.slow
def test_rates_latencies_and_shares_belong_together() -> None:
    options = {"width": 0.125, "depth": 0.1, "stem": "small", "num_classes": 3}
    wanted = cases(["googlenet"], engines=["torch"], precisions=["float32"], batches=[2], threads=[1])
    (one,) = benchmark(wanted, rounds=3, seconds=0.05, img_size=32, options=options)
    assert one.parity["equal_top1"] == 1.0
    assert one.parity["max_difference"] <= 1e-5 * one.parity["max_logit"]
    assert one.latency_ms["p50"] <= one.latency_ms["p95"] <= one.latency_ms["p99"]
    operations = 2 * cost(build("googlenet", **options), 32).multiply_adds
    assert one.share_of_peak == pytest.approx(one.images_per_second * operations / (one.peak_gops * 1e9))
    assert one.peak_memory > 50e6
    assert one.file_size == 4 * cost(build("googlenet", **options), 32).parameters


@pytest.mark.slow
def test_what_the_user_can_mend_is_told_in_a_line_and_a_failure_with_its_traceback() -> None:
    case = Case(model="no/such/model", engine="torch", precision="float32", batch=1, threads=1, device="cpu")
    for model, told in (("no/such/model", "neither a path"), ("gogglenet", "did you mean 'googlenet'")):
        with pytest.raises(OSError, match=rf"{model}.*{told}") as refused:
            benchmark([replace(case, model=model)], rounds=1)
        assert "Traceback" not in str(refused.value)
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*threads"):
        benchmark([replace(case, model="googlenet", threads=-1)], rounds=1, img_size=64, options={"width": 0.1})

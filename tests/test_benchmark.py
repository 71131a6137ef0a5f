"""Benchmarks: every combination that exists, in turns, against the machine's own limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inceptions.anatomy import cost
from inceptions.deploy.benchmark import Case, benchmark, cases
from inceptions.zoo import build


def test_cases_are_the_combinations_that_exist() -> None:
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
    assert devices(None) == devices("cuda") == {("torch", "cuda"), ("openvino", "cpu")}
    assert devices("cpu") == {("torch", "cpu"), ("openvino", "cpu")}
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert devices(None) == {("torch", "cpu"), ("openvino", "cpu")}
    for wrong in ("cuda", "tpu"):
        with pytest.raises(ValueError, match=f"device {wrong}: cpu, or cuda where"):
            devices(wrong)


@pytest.mark.slow
def test_rates_latencies_and_shares_belong_together() -> None:
    options = {"width": 0.125, "depth": 0.1, "stem": "small", "num_classes": 3}
    wanted = cases(["googlenet"], engines=["torch"], precisions=["float32"], batches=[2], threads=[1])
    (one,) = benchmark(wanted, rounds=3, seconds=0.05, img_size=32, options=options)
    assert one.parity["equal_top1"] == 1.0
    assert one.parity["max_difference"] <= 1e-5 * one.parity["max_logit"]
    assert one.latency_ms["p50"] <= one.latency_ms["p95"] <= one.latency_ms["p99"]
    operations = 2 * cost(build("googlenet", **options), 32).multiply_adds
    assert one.share_of_peak == pytest.approx(one.pictures_per_second * operations / (one.peak_gops * 1e9))
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

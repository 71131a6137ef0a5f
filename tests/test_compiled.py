"""The compiled engine: eager PyTorch's answers for any number of images from one compilation, or a clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import inceptions.deploy.benchmark as benchmark
import inceptions.engines.select as choice
from inceptions.deploy.benchmark import cases
from inceptions.engines import Engine, available, open_engine
from inceptions.engines.compiled import CompiledEngine, compiler
from tests.test_engines import images, network

needs_compiler = pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler here (CXX, or g++)")


@needs_compiler
def test_one_compilation_gives_the_eager_answers_for_any_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[dict[str, Any]] = []
    compile_it = torch.compile

    def remember(module: Any, **options: Any) -> Any:
        compiled.append(options)
        return compile_it(module, **options)

    monkeypatch.setattr(torch, "compile", remember)
    net = network()
    engine = open_engine(net, engine="torch-compiled", batch_size=4, device="cpu")
    eager = open_engine(net, engine="torch", batch_size=4, device="cpu")
    assert (engine.name, engine.precision) == ("torch-compiled", "float32")
    engine(images(1))
    with torch.compiler.set_stance("fail_on_recompile"):
        for n in (1, 4, 11):
            for batch in (images(n), images(n).contiguous(memory_format=torch.channels_last)):
                answers, truth = engine.logits_and_features(batch), eager.logits_and_features(batch)
                assert [one.shape for one in answers] == [one.shape for one in truth]
                assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(answers, truth, strict=True))
    assert [one["options"]["freezing"] for one in compiled] == [True]


def test_a_compiler_that_fails_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*inputs: object) -> None:
        raise RuntimeError("Python.h: no such file\nand so on")

    monkeypatch.setattr(choice, "compiler", lambda: "g++")
    monkeypatch.setattr(torch, "compile", lambda module, **options: fail)
    engine = open_engine(network(), engine="torch-compiled", device="cpu")
    with pytest.raises(ValueError, match=r"failed \(RuntimeError: Python\.h: no such file\); the engine torch"):
        engine(images(2))


def test_without_a_compiler_it_is_not_there_and_asking_for_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert compiler() is None
    assert "torch-compiled" not in available()
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler"):
        open_engine(network(), engine="torch-compiled", device="cpu")


def test_auto_compiles_only_for_minutes_of_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INCEPTIONS_CACHE", str(tmp_path))
    rates = {"torch": 100.0, "torch-compiled": 120.0}
    monkeypatch.setattr(Engine, "rate", lambda self, batch, **_: rates[self.name])
    monkeypatch.setattr(CompiledEngine, "_compile", lambda self, inputs: self.module)
    monkeypatch.setattr(choice, "available", lambda: tuple(rates)[::-1])
    for images_to_come, name in ((100, "torch"), (29_000, "torch"), (31_000, "torch-compiled")):
        assert open_engine(network(), expected=images_to_come, device="cpu").name == name
    rates["torch-compiled"] = 90.0
    assert open_engine(network(), expected=31_000, precision="bf16", device="cpu").name == "torch"


def test_no_batch_size_is_tried_since_each_would_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "compiler", lambda: "g++")
    monkeypatch.setattr(CompiledEngine, "_compile", lambda self, inputs: pytest.fail("it was compiled"))
    assert open_engine(network(), engine="torch-compiled", expected=10_000, device="cpu").batch_size == 16


def test_benchmarks_have_it_beside_the_same_limit_as_eager_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "compiler", lambda: "g++")
    found = cases(["a"], engines=["torch-compiled", "torch"], precisions=["bf16"], batches=[1], threads=[1])
    assert [case.engine for case in found] == ["torch-compiled", "torch"]
    assert len({benchmark._key(case) for case in found}) == 1

"""The processor's record: what its instruction set means for number formats, whoever describes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import inceptions.engines.processor as room
from inceptions.engines.processor import Processor, processor

ZEN4 = "fpu sse fma avx2 avx512f avx512_bf16 avx512_vnni"


def made(*features: str, architecture: str = "x86_64") -> Processor:
    return Processor(model="a", architecture=architecture, features=frozenset(features), cores=2)


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has a processor of its own, under no limit."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    room._hardware.cache_clear()
    yield
    room._hardware.cache_clear()


def described(monkeypatch: pytest.MonkeyPatch, machine: str, lines: dict[str, str]) -> Processor:
    """The record where only Linux's description is known."""
    monkeypatch.setattr(room, "_torch", dict)
    monkeypatch.setattr(room.sys, "platform", "linux")
    monkeypatch.setattr(room.platform, "machine", lambda: machine)
    monkeypatch.setattr(room, "_lines", lambda: lines)
    return processor()


@pytest.mark.parametrize(
    ("features", "vnni", "bf16", "words"),
    [
        (("avx2", "fma"), False, False, "AVX2"),
        (("avx2", "fma", "avx512"), False, False, "AVX2 AVX-512"),
        (("avx2", "avx_vnni"), True, False, "AVX2 AVX-VNNI"),
        (("avx2", "avx512", "avx512_vnni", "avx512_bf16"), True, True, "AVX2 AVX-512 VNNI BF16"),
        (("avx2", "avx512", "amx_int8", "amx_bf16"), True, True, "AVX2 AVX-512 AMX int8 AMX BF16"),
        (("neon",), False, False, "NEON"),
        (("neon", "dotprod"), True, False, "NEON dot product"),
        (("neon", "dotprod", "i8mm", "bf16", "sve"), True, True, "NEON dot product I8MM BF16 SVE"),
    ],
)
def test_formats_follow_from_the_instruction_set(features: tuple[str, ...], vnni: bool, bf16: bool, words: str) -> None:
    one = made(*features)
    assert (one.has_vnni, one.has_bf16, one.instruction_set) == (vnni, bf16, words)


def test_linux_describes_both_kinds_of_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    x86 = described(monkeypatch, "x86_64", {"model name": "AMD EPYC", "flags": ZEN4})
    assert (x86.model, x86.architecture) == ("AMD EPYC", "x86_64")
    assert x86.features == {"fma", "avx2", "avx512", "avx512_bf16", "avx512_vnni"}
    room._hardware.cache_clear()
    arm = described(monkeypatch, "aarch64", {"features": "fp asimd asimddp bf16 i8mm"})
    assert (arm.architecture, arm.has_vnni, arm.has_bf16) == ("arm64", True, True)


def test_pytorchs_answer_comes_first_since_it_asks_the_processor_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_torch", lambda: {"cpu_name": "Haswell", "avx2": True, "fma3": True, "avx512_f": False})
    monkeypatch.setattr(room.platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(room, "_lines", lambda: {"flags": ZEN4})
    assert (processor().model, processor().architecture) == ("Haswell", "x86_64")
    assert processor().features == {"avx2", "fma"}


def test_what_onednn_is_told_to_leave_out_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = described(monkeypatch, "x86_64", {"flags": ZEN4})
    for limit, words in (("AVX2", "AVX2"), ("avx512_core", "AVX2 AVX-512"), ("AVX512_CORE_VNNI", "AVX2 AVX-512 VNNI")):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert (processor().instruction_set, processor().limit) == (words, limit)
    for limit in ("ALL", "DEFAULT", "AVX512_CORE_BF16", ""):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert processor() == whole


def test_this_machine_is_known() -> None:
    one = processor()
    assert one.cores >= 1
    assert one.model
    assert one.to_dict()["instruction_set"] == one.instruction_set
    assert processor() == one

"""What a machine can do at most in each precision: the best of several small kernels over the engines, measured, and
for comparison what its registers allow, computed from the instruction set and the measured clock.

One large product is not the limit: it waits for memory, and a runtime may have no 8-bit product where it has 8-bit
convolutions. The best of small kernels that live in the caches reaches 88 to 100 % of what the registers allow.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from inceptions.engines.processor import Processor, processor
from inceptions.progress import log

SIDES = {"cpu": (384, 512, 768, 1536), "cuda": (4096, 8192)}
"""device -> sides of the matrices that PyTorch multiplies."""
CONVOLUTIONS = ((256, 1, 28), (256, 3, 28), (128, 3, 34))
"""Channels, kernel and side of the convolutions that OpenVINO runs."""
LINKS = 4  # convolutions one after the other, so that reading the input and writing the output hardly counts
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}

Kernel = tuple[str, int, Callable[[], object]]
"""Its name, its operations (a multiply-add is two), and a call."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The limit in one precision, on one device and number of threads."""

    gops: float
    """10^9 operations per second of the fastest kernel, a multiply-add is two."""
    by: str
    """The kernel that reached it."""
    register_gops: float | None
    """What the registers allow; None: not known."""
    assumed: str
    """What `register_gops` takes for granted, or why it is not known."""


class Limit:
    """Measures one precision by turns, in this process.

    Args:
        precision: of the arithmetic: "float32", "bf16", "int8".
        device: "cpu" or "cuda".
        threads: of the CPU.
    """

    def __init__(self, precision: str, device: str, threads: int) -> None:
        self.precision, self.device, self.threads = precision, device, threads
        torch.set_num_threads(threads)
        self.kernels = list(kernels(precision, device, threads))
        self.best: tuple[float, str] = (0.0, "nothing")

    def turn(self, seconds: float) -> Peak:
        """Measure every kernel, in `seconds` together; the best of all turns so far is returned."""
        for name, operations, run in self.kernels:
            self.best = max(self.best, (operations / _fastest(run, seconds / len(self.kernels)) / 1e9, name))
        registers, assumed = None, "not known for a GPU"
        if self.device == "cpu":
            registers, assumed = register_gops(processor(), self.precision, self.threads, clock())
        return Peak(gops=self.best[0], by=self.best[1], register_gops=registers, assumed=assumed)


def kernels(precision: str, device: str, threads: int) -> Iterator[Kernel]:
    """What may reach the limit, where this machine has it: products in PyTorch and ONNX Runtime, convolutions in
    OpenVINO."""
    makers: list[Callable[[], Kernel]] = [partial(_torch_product, side, precision, device) for side in SIDES[device]]
    if device == "cpu" and precision == "float32":
        makers.append(partial(_onnx_product, 512, threads))
    if device == "cpu":
        makers += [partial(_convolutions, precision, *shape, threads) for shape in CONVOLUTIONS]
    for make in makers:
        try:
            kernel = make()
            kernel[2]()
        except Exception as error:  # every runtime has its own error for what is missing
            log.debug("a kernel is not measured here: %s", error)
        else:
            yield kernel


def _torch_product(side: int, precision: str, device: str) -> Kernel:
    if precision == "int8":
        numbers = torch.randint(-128, 128, (side, side), dtype=torch.int8, device=device)
        multiply: Callable[[], object] = partial(torch._int_mm, numbers, numbers)
    else:
        values = torch.randn(side, side, device=device).to(_DTYPES[precision])
        multiply = partial(torch.matmul, values, values)

    def run() -> object:
        with torch.inference_mode():
            product = multiply()
        if device == "cuda":
            torch.cuda.synchronize()
        return product

    return f"torch, product of {side}", 2 * side**3, run


def _onnx_product(side: int, threads: int) -> Kernel:
    import onnxruntime
    from onnx import TensorProto, helper

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", tensors[:2], tensors[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feed = {name: torch.randn(side, side).numpy() for name in "ab"}
    return f"onnxruntime, product of {side}", 2 * side**3, lambda: session.run(None, feed)


def _convolutions(precision: str, channels: int, kernel: int, side: int, threads: int) -> Kernel:
    from inceptions.engines.openvino import compiled, small_graph

    shape = (4 * threads, channels, side, side)
    ready = compiled(small_graph(precision, channels=channels, kernel=kernel, links=LINKS), shape, precision, threads)
    images = torch.rand(shape).numpy()
    outputs = sum((side - (kernel - 1) * link) ** 2 for link in range(1, LINKS + 1))
    name = f"openvino, {kernel}x{kernel} convolutions of {channels} channels"
    operations = 2 * shape[0] * outputs * channels**2 * kernel**2
    return name, operations, lambda: ready(images, share_inputs=True)


def _fastest(run: Callable[[], object], seconds: float) -> float:
    run()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while fastest == float("inf") or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - begin)
    return fastest


# --- the registers ------------------------------------------------------------------------------------------------

_LOOP = bytes.fromhex("4889f8 48ffc8 75fb c3")
"""x86-64: count the first argument down to zero, a step a cycle, and return."""
_INTEL_256 = {60, 61, 63, 69, 70, 71, 78, 79, 86, 94, 142, 151, 154, 158, 165, 166, 183, 186, 191}
_INTEL_512 = {85, 106, 108, 143, 173, 207}
_INTEL_ONE_512 = {125, 126, 140, 141, 167}
_ARM = {"0xd0c": 8, "0xd40": 16, "0xd49": 8, "0xd4f": 16}  # Neoverse N1, V1, N2, V2


def clock() -> float | None:
    """Cycles per second of a core at work, measured; None: not known here (no x86-64, or no memory to run code in)."""
    if processor().architecture != "x86_64" or sys.platform not in ("linux", "darwin"):
        return None
    try:
        memory = mmap.mmap(-1, len(_LOOP), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # a hardened system
        return None
    memory.write(_LOOP)
    place = ctypes.c_char.from_buffer(memory)
    count = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(ctypes.addressof(place))
    cycles, tries = 500_000, []  # short: one of many is not interrupted
    for _ in range(100):
        begin = time.perf_counter()
        count(cycles)
        tries.append(time.perf_counter() - begin)
    return cycles / min(tries)


def register_gops(here: Processor, precision: str, threads: int, hertz: float | None) -> tuple[float | None, str]:
    """10^9 operations per second that the registers of `threads` cores allow, and what that assumes.

    Sources: the makers' optimization guides; without VNNI an 8-bit product takes two instructions of the same units.
    """
    units, words = _multiply_adds(here)
    if units is None or hertz is None:
        return None, "not known for this processor" if units is None else "not known: the clock cannot be measured here"
    times: int | None = 1
    if precision == "bf16":
        times = 2 if "avx512_bf16" in here.features else None
    elif precision == "int8":
        vnni = not here.features.isdisjoint(("avx512_vnni", "avx_vnni"))
        times = None if here.architecture != "x86_64" else 4 if vnni else 2
    per_cycle = None if times is None else units * times
    if f"amx_{precision}" in here.features:
        per_cycle, words = {"bf16": 512, "int8": 1024}[precision], "AMX tiles"
    if per_cycle is None:
        return None, f"not known for {precision} on this processor"
    cores = min(threads, here.cores)
    assumed = f"{words}: {per_cycle} multiply-adds a cycle, {cores} cores at {hertz / 1e9:.2f} GHz"
    return 2 * per_cycle * cores * hertz / 1e9, assumed


def _multiply_adds(here: Processor) -> tuple[int | None, str]:
    """float32 multiply-adds a cycle and core, and the units that do them; None: not known."""
    words = here.maker.split()
    if len(words) == 1:
        return _ARM.get(words[0]), "units of 128 bits"
    if len(words) < 3 or "fma" not in here.features:
        return None, ""
    vendor, family, model = words[0], *map(int, words[1:3])
    two_256, wide = (16, "2 units of 256 bits"), "avx512" in here.features
    two_512 = (32, "2 units of 512 bits") if wide else two_256
    if vendor == "AuthenticAMD":
        zen5 = two_512 if model < 0x20 or 0x40 <= model < 0x50 or 0x70 <= model < 0x80 else (None, "")
        zen1 = (8, "2 units of 128 bits") if model < 0x30 else two_256
        return {23: zen1, 25: two_256, 26: zen5}.get(family, (None, ""))
    if vendor != "GenuineIntel" or family != 6:
        return None, ""
    if model in _INTEL_ONE_512:
        return 16, "1 unit of 512 bits"
    return two_512 if model in _INTEL_512 else two_256 if model in _INTEL_256 else (None, "")

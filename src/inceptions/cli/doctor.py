"""`inceptions doctor`: what this machine offers, and what is missing or broken."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from inceptions.cli.terminal import print_json, table

# What people ask a processor for: our name -> instruction sets, any of which will do.
_INSTRUCTIONS = {
    "AVX2": ("avx2",),
    "AVX512": ("avx512",),
    "VNNI": ("avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm"),
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "AMX": ("amx_int8", "amx_bf16"),
}
_ENOUGH_DISK = 2 * 2**30


def doctor(*, json: bool = False) -> int:
    """Show what this machine offers and what is missing or broken.

    Lists versions, processor, devices, memory and disk, which precisions each engine has on this processor and whether
    they are faster than float32, and ends with advice where something deserves it. The exit code
    is 1 where a package that inceptions cannot do without is missing or outside the range it works with.

    Args:
        json: print one JSON object instead of tables.
    """
    packages = _packages()
    precisions = _precisions()
    space = _space()
    torchvision = _torchvision()
    facts: dict[str, Mapping[str, object]] = {
        "system": {"inceptions": version("inceptions"), "python": sys.version.split()[0], "os": platform.platform()},
        "processor": _processor(),
        "devices": _devices(),
        "space": space,
        "torchvision": {"state": torchvision},
    }
    broken = [row for row in packages if row["needed_by"] == "inceptions" and row["problem"]]
    advice = [f"{row['package']} is {row['problem']}: pip install '{row['wanted']}'" for row in broken]
    advice += _advice(space, torchvision)
    if json:
        print_json({**facts, "precisions": precisions, "packages": packages, "advice": advice})
    else:
        for title, values in facts.items():
            table([(name, _readable(value)) for name, value in values.items()], (title, ""))
            print()
        table([tuple(map(_said, row.values())) for row in precisions], list(precisions[0]))
        print()
        table([tuple(row.values()) for row in packages], [name.replace("_", " ") for name in packages[0]])
        print(
            "\n".join(
                ["", "advice:", *(f"  {line}" for line in advice)] if advice else ["", "nothing to complain about"]
            )
        )
    return 1 if broken else 0


def _packages() -> list[dict[str, str | None]]:
    """Every package that inceptions or one of its extras asks for, and what is wrong with the one installed."""
    from packaging.requirements import Requirement

    rows: list[dict[str, str | None]] = []
    for line in requires("inceptions") or []:
        wanted = Requirement(line)
        extra = re.search(r"extra == [\"'](\w+)", line)
        if wanted.name == "inceptions" or (extra and extra[1] in ("all", "dev")):
            continue
        try:
            found: str | None = version(wanted.name)
        except PackageNotFoundError:
            found = None
        problem = None
        if found is None:
            problem = "missing"
        elif not wanted.specifier.contains(found, prereleases=True):
            problem = "outside the range"
        needed_by = f"extra {extra[1]}" if extra else "inceptions"
        rows.append(
            {
                "package": wanted.name,
                "version": found,
                "wanted": f"{wanted.name}{wanted.specifier}",
                "needed_by": needed_by,
                "problem": problem,
            }
        )
    return rows


def _processor() -> dict[str, object]:
    import torch

    from inceptions.engines.processor import processor

    here = processor()
    return {
        "name": here.model,
        "cores": here.cores,
        "usable_cores": _usable_cores(),
        "torch_threads": torch.get_num_threads(),
        "instruction_set": here.instruction_set,
        **({"limited_by": f"ONEDNN_MAX_CPU_ISA={here.limit}"} if here.limit else {}),
        **{ours: not here.features.isdisjoint(names) for ours, names in _INSTRUCTIONS.items()},
    }


def _precisions() -> list[dict[str, object]]:
    """What each installed engine computes on the CPU where a precision is asked for, and whether that pays."""
    import torch

    from inceptions.engines import ENGINES, available, support

    asked = [(engine, precision) for engine in available() for precision in ENGINES[engine]]
    found = [support(engine, precision, torch.device("cpu")) for engine, precision in asked]
    return [
        {
            "engine": one.engine,
            "precision": one.precision,
            "computes": "emulated in float32" if one.emulated else one.computes,
            "pays": one.pays,
            "note": one.note,
        }
        for one in found
    ]


def _usable_cores() -> float:
    """Cores this process may use: its affinity, and the quota of its container (Linux control groups)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        allowed, period = quota.read_text().split()
        if allowed != "max":
            return min(float(affinity), int(allowed) / int(period))
    return float(affinity)


def _devices() -> dict[str, object]:
    import torch

    found: dict[str, object] = {"cpu": "always"}
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        found[f"cuda:{i}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    if torch.xpu.is_available():
        found["xpu"] = f"{torch.xpu.device_count()} Intel GPU"
    return found


def _space() -> dict[str, int]:
    """Bytes: memory, shared memory, disk under the current folder and under the folder for temporary files."""
    space = {}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        space["memory"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if Path("/dev/shm").is_dir():  # what other programs' loaders need; ours do not
        space["shared_memory"] = shutil.disk_usage("/dev/shm").total
        space["shared_memory_free"] = shutil.disk_usage("/dev/shm").free
    space["disk_free"] = shutil.disk_usage(Path.cwd()).free
    return space


def _torchvision() -> str:
    """Whether torchvision is there and imports: tried in another process, since the wrong one may crash it."""
    command = [sys.executable, "-c", "import torchvision; print(torchvision.__version__)"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "broken: its import takes more than two minutes"
    if tried.returncode == 0:
        return f"works ({tried.stdout.strip()})"
    lines = tried.stderr.strip().splitlines() or [f"ended with {tried.returncode}"]
    return "absent" if lines[-1].endswith("No module named 'torchvision'") else f"broken: {lines[-1]}"


def _advice(space: Mapping[str, int], torchvision: str) -> list[str]:
    advice = []
    if space["disk_free"] < _ENOUGH_DISK:
        advice.append("less than 2 GiB of disk are free here: checkpoints of a large network may not fit")
    if torchvision.startswith("broken"):
        advice.append("torchvision is installed but does not import; inceptions never uses it, other programs might")
    return advice


def _said(value: object) -> object:
    return {True: "yes", False: "no", None: "nothing"}.get(value, value) if isinstance(value, bool | None) else value


def _readable(value: object) -> object:
    return f"{value / 2**30:,.1f} GiB" if isinstance(value, int) and value >= 2**20 else value  # no bool is so large

"""What every benchmark shares: clocks, paired ratios, the machine's limit, and result files.

Needs only torch, transformers and the standard library, as `benchmarks.gpu` does.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.markdown import QUICK, RESULTS, ROOT
from genreast.atomic import at_once

LIBRARIES = ("torch", "torchcodec", "transformers", "accelerate", "datasets", "librosa", "scipy")


def in_turns(repetitions: int, **runs: Callable[[], float | None]) -> dict[str, list[float]]:
    """Each run's values, taken in turns so that all meet the same machine.

    A run's value is what it returns, or else the seconds it took.
    """
    values: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(repetitions):
        for name, run in runs.items():
            start = time.perf_counter()
            value = run()
            seconds = time.perf_counter() - start
            values[name].append(seconds if value is None else value)
            print(f"{name}, {repetition + 1} of {repetitions}: {seconds:.1f} s", file=sys.stderr)
    return values


def summary(values: list[float]) -> dict[str, Any]:
    """All values, their median, and their spread (least, most)."""
    return {
        "values": [rounded(value) for value in values],
        "median": rounded(statistics.median(values)),
        "spread": [rounded(min(values)), rounded(max(values))],
    }


def paired_ratio(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """`ours` over `theirs`, repetition by repetition."""
    return summary([one / other for one, other in zip(ours, theirs, strict=True)])


def rounded(value: float, digits: int = 4) -> float:
    """A value to four significant digits."""
    return float(f"{value:.{digits}g}")


def synchronise(device: torch.device) -> None:
    """Wait for what the device was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Floating point operations a second of large matrix products: what the machine can do at best.

    The best of a few square sizes, each the median of products run for a part of `seconds`.
    """
    best = 0.0
    for size in (4096, 8192, 16384) if device.type == "cuda" else (1024, 2048):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(left)
        torch.mm(left, right, out=out)
        times, end = [], time.perf_counter() + seconds / 2
        while time.perf_counter() < end or len(times) < 3:
            synchronise(device)
            start = time.perf_counter()
            torch.mm(left, right, out=out)
            synchronise(device)
            times.append(time.perf_counter() - start)
        best = max(best, 2 * size**3 / statistics.median(times))
    return best


def training_flops(config, tokens: int, pooled_alone: bool = False) -> float:
    """Operations of one training sample of an AST with `tokens` tokens in its layers.

    A forward pass is two operations a multiplication: projections and MLP, attention's two
    products, and the patches' projection; a training step is three forward passes (Kaplan 2020,
    section 2.1). AST-base at 1214 tokens gives 0.78 TFLOP; 0.72 with a last layer that works for
    the two pooled tokens alone, as ours does.
    """
    width, inner = config.hidden_size, config.intermediate_size
    layer = tokens * (8 * width**2 + 4 * width * inner) + 4 * tokens**2 * width
    keys_and_values = 4 * tokens * width**2
    last = keys_and_values + 2 * (4 * width**2 + 4 * width * inner + 4 * tokens * width)
    layers = config.num_hidden_layers * layer + (last - layer if pooled_alone else 0)
    rows, columns = patch_grid(config)
    patches = 2 * rows * columns * config.patch_size**2 * width
    return 3.0 * (layers + patches)


def patch_grid(config) -> tuple[int, int]:
    """Rows (mel) and columns (time) of patches."""
    return (
        (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1,
        (config.max_length - config.patch_size) // config.time_stride + 1,
    )


def tokens_kept(config, patchout: float) -> int:
    """Tokens that the layers see, two special ones among them."""
    patches = math.prod(patch_grid(config))
    return patches - round(patches * patchout) + 2


def save(name: str, result: dict[str, Any], command: str, quick: bool = False) -> Path:
    """Write a result with what made it: command, commit, versions and machine.

    A quick one goes to a folder that git does not keep: the tables come from full runs.
    """
    folder = QUICK if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    content = {**result, "command": command, "commit": commit(), **machine()}
    path = folder / f"{name}.json"
    with at_once(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(path.relative_to(ROOT), file=sys.stderr)
    return path


def commit() -> str | None:
    """The commit measured, with a plus sign where tracked files but results differ from it."""
    try:
        found = _git("describe", "--always", "--abbrev=12")
        # The results before this one, and the tables made of them, are no change of what is run.
        code = (".", ":!benchmarks/results", ":!docs", ":!README.md")
        changed = _git("diff", "--quiet", "HEAD", "--", *code).returncode
    except OSError:
        return None
    return found.stdout.strip() + "+" * bool(changed) if found.returncode == 0 else None


def _git(*words: str) -> subprocess.CompletedProcess:
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True)


def machine() -> dict[str, Any]:
    """Processor, GPU, versions, threads, and how busy the machine was."""
    able = torch.cpu.get_capabilities()
    return {
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "fast_bfloat16": {key: bool(able.get(key)) for key in ("amx_bf16", "avx512_bf16")},
        "threads": torch.get_num_threads(),
        "load_average_at_the_end": rounded(os.getloadavg()[0], 3),
        "versions": {"python": platform.python_version(), **library_versions()},
    }


def library_versions() -> dict[str, str]:
    """Versions of the libraries that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu() -> str:
    """The processor as the system names it, and the widest vectors that torch uses on it."""
    return f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}"


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

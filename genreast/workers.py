"""Run one function over many songs on all cores of this machine."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from tqdm import tqdm


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_local(function: Callable, tasks: list[tuple], num_workers: int | None) -> Iterator[Any]:
    """Call `function(*task)` for each task in worker processes; results come as they are done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["genreast.clips", "genreast.features", "torchcodec.decoders"])
    workers = min(num_workers or default_workers(), max(len(tasks), 1))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(function, *task) for task in tasks]
        for future in tqdm(as_completed(futures), total=len(futures), unit="song", desc="songs"):
            yield future.result()

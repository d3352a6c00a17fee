"""The cores of each process that trains, and how many others decode clips beside a GPU, which is
not to wait for them.
"""

import math
import multiprocessing
import os
import shutil

from accelerate.utils import gather_object

from genreast.audio import SAMPLING_RATE
from genreast.data.workers import usable_cores
from genreast.training.batches import ClipDataset
from genreast.training.recipe import TrainArguments
from genreast.training.streaming import StreamedClips

MOST_PROCESSES = 8  # for one GPU
HELD = 3  # batches of a decoding process: two ahead, as a DataLoader's are, and one in the making


def share_of_cores() -> int:
    """The cores of each process that trains on this host."""
    return usable_cores() // _processes_here()


def _processes_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def decoding_processes(args: TrainArguments, train_clips: ClipDataset | StreamedClips) -> int:
    """The number for each training process, all of which call this; 0 decodes between the steps.

    A CPU has no cores left for it, and processes that are not forked would load the libraries anew
    in every epoch.
    """
    if args.device.type != "cuda" or multiprocessing.get_start_method() != "fork":
        return 0
    clips = args.train_batch_size + args.eval_batch_size  # of both loaders at once
    batch_bytes = clips * 4 * SAMPLING_RATE * math.ceil(train_clips.longest_seconds())
    shared = shared_memory() / _processes_here()
    found = fitting(share_of_cores(), batch_bytes, shared)
    return min(gather_object([found]))  # streamed clips are dealt out to as many everywhere


def fitting(cores: int, batch_bytes: int, shared_bytes: float) -> int:
    """One process for each core but the training's own.

    At most 8, and at most as many as find room for their batches in the memory that they share with
    it: a container's may be small, and a process that finds it full is killed.
    """
    return int(max(0, min(cores - 1, MOST_PROCESSES, shared_bytes / (HELD * batch_bytes))))


def shared_memory() -> float:
    """Free bytes of the memory that processes hand tensors over in."""
    return shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else math.inf

"""Songs a second and memory of `prepare_dataset.py`, beside the original's way and bare decoding.

    python -m benchmarks.prepare --raw path/to/songs [--repeat 3] [--songs 20]

Without --raw it makes a folder of 3-minute mp3s. Writes benchmarks/results/prepare-<name>.json.
Every way runs as a process of its own, all in turn in each repetition, and starting it counts.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.faults import ROOT

MINUTES = 3
PEER = """
import sys
from pathlib import Path
from benchmarks.peers.original_prepare import prepare
prepare([Path(song) for song in sys.argv[2:]], Path(sys.argv[1]))
"""
DECODER = """
import sys
from concurrent.futures import ProcessPoolExecutor
import torchcodec.decoders
from genreast.audio import load_audio
from benchmarks.prepare import decode
with ProcessPoolExecutor(2) as pool:
    list(pool.map(decode, sys.argv[2:]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, help="folder of genre folders")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--songs", type=int, default=20, help="3-minute songs to make")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = args.raw or make_long_songs(Path(folder) / "raw", args.songs)
        name = args.raw.name if args.raw else "three_minutes"
        result = measure(raw, Path(folder), args.repeat)
    result["command"] = f"python -m benchmarks.prepare --repeat {args.repeat}"
    result["command"] += f" --raw {name}" if args.raw else f" --songs {args.songs}"
    path = ROOT / "benchmarks" / "results" / f"prepare-{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(raw: Path, folder: Path, repeat: int) -> dict:
    """Wall seconds, processor seconds and peak memory of each way, the ways taking turns."""
    songs = sorted(str(path) for path in raw.rglob("*") if path.suffix in (".mp3", ".ogg"))
    ours = [sys.executable, str(ROOT / "prepare_dataset.py"), str(raw), "--num_workers", "2"]
    bare = ["--duplicates", "ignore", "--feature_stats", "false"]
    ways = {
        "original": lambda out: [sys.executable, "-c", PEER, out, *songs],
        "decoder_alone": lambda out: [sys.executable, "-c", DECODER, out, *songs],
        "everything_on": lambda out: [*ours, "--output_dir", out],
        "duplicates_and_statistics_off": lambda out: [*ours, *bare, "--output_dir", out],
    }
    runs = {way: [] for way in ways}
    for number in range(repeat):
        for way, command in ways.items():
            runs[way].append(run(command(str(folder / f"{way}-{number}"))))
    medians = {
        way: {key: statistics.median(one[key] for one in results) for key in results[0]}
        for way, results in runs.items()
    }
    original = medians["original"]["seconds"]
    decoder = medians["decoder_alone"]["seconds"]
    for way, result in medians.items():
        seconds = [one["seconds"] for one in runs[way]]
        result["seconds_spread"] = [min(seconds), max(seconds)]
        result["songs_a_second"] = round(len(songs) / result["seconds"], 2)
        result["times_the_original"] = round(original / result["seconds"], 2)
        result["share_of_the_decoder"] = round(decoder / result["seconds"], 2)
    return {
        "songs": len(songs),
        "repetitions": repeat,
        "ways": medians,
        "load_average": os.getloadavg()[0],
        "cpu": f"{cpu_name()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("torch", "torchcodec", "librosa", "scipy")},
    }


def run(command: list[str]) -> dict:
    """Run a command and watch it: seconds, processor seconds, peak unique memory in MB."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=-1, stderr=subprocess.STDOUT)
    peak, busy, stop = [0], {}, threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            peak[0] = max(peak[0], look(process.pid, busy))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.monotonic() - start
    stop.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(output.decode()[-2000:])
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(sum(busy.values()), 1),
        "peak_mb": round(peak[0] / 1e6),
    }


def look(pid: int, busy: dict[int, float]) -> int:
    """Note the processor seconds of a process and all below it; returns their memory in bytes.

    Memory is the proportional set size: what is one process's alone, and its part of what is
    shared.
    """
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            times = process.cpu_times()
            busy[process.pid] = times.user + times.system
            total += process.memory_full_info().pss
    except psutil.Error:
        pass
    return total


def decode(path: str) -> int:
    """Decode and resample one song, and nothing else."""
    import torch

    from genreast.audio import load_audio

    torch.set_num_threads(1)
    return len(load_audio(path))


def make_long_songs(raw: Path, count: int) -> Path:
    """`count` stereo mp3s of three minutes at 44.1 kHz, each different."""
    for number in range(count):
        path = raw / ("a", "b")[number % 2] / f"{number}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = "+".join(
            f"0.1*sin(2*PI*t*{220 + 37 * number + 55 * k}*(1+0.3*floor(mod(t*{2 + k / 3},4))))"
            for k in range(3)
        )
        noise = f"0.05*(random({number})-0.5)"
        source = f"aevalsrc='{sound}+{noise}|{sound}':s=44100:d={MINUTES * 60}"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-b:a", "192k", path]
        subprocess.run(command, check=True)
    return raw


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()

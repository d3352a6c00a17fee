"""Songs a second and memory of `prepare_dataset.py`, beside the original's way and bare decoding.

    python -m benchmarks.prepare --raw path/to/songs [--repeat 3]
    python -m benchmarks.prepare [--songs 20] [--seconds 180] [--repeat 3]

Without --raw it makes a folder of mp3s. Writes benchmarks/results/prepare-<name>.json.
Every way runs as a process of its own, all in turn in each repetition. Rates leave out the start:
each program first does its work once on a few songs (Python and its libraries take seconds to
import, which a library of a thousand songs does not notice), then is timed on all of them.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import psutil
import soundfile

from benchmarks.faults import ROOT
from benchmarks.made_songs import make_song

# benchmarks.measure is imported where it is used: the programs that are timed import this module,
# and their memory must not count a torch that they do not need.

pool = None  # the decoder's processes, kept from its warm-up to its timed run
WARM_UP = 6  # songs, three a genre: the least that splits
TIMED = """
import sys, time
from pathlib import Path
from benchmarks.prepare import {way}
warm, raw, out, *options = sys.argv[1:]
if __name__ == "__main__":
    {way}(warm, out + " warm", options)
    start = time.monotonic()
    {way}(raw, out, options)
    print("SECONDS", time.monotonic() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, help="folder of genre folders")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--songs", type=int, default=20, help="songs to make")
    parser.add_argument("--seconds", type=int, default=180, help="their length")
    parser.add_argument("--quick", action="store_true", help="keep the result apart")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = args.raw or make_long_songs(Path(folder) / "raw", args.songs, args.seconds)
        warm = make_long_songs(Path(folder) / "warm", WARM_UP, seconds=5)
        result = measure(raw, warm, Path(folder), args.repeat)
    from benchmarks.measure import save

    name = args.raw.name if args.raw else f"{args.songs}_made_songs"
    made = f" --raw {name}" if args.raw else f" --songs {args.songs} --seconds {args.seconds}"
    command = f"python -m benchmarks.prepare --repeat {args.repeat}{made}"
    save(f"prepare-{name}", result, command + " --quick" * args.quick, args.quick)


def measure(raw: Path, warm: Path, folder: Path, repeat: int) -> dict:
    """Seconds, processor seconds and peak memory of each way, the ways taking turns."""
    from benchmarks.measure import paired_ratio, rounded

    off = ["--duplicates", "ignore", "--feature_stats", "false"]
    ways = {
        "original": ("original", []),
        "decoder_alone": ("decoder", []),
        "everything_on": ("ours", []),
        "duplicates_and_statistics_off": ("ours", off),
        "one_worker": ("ours", ["--num_workers", "1"]),
    }
    songs = songs_below(raw)
    audio_seconds = sum(soundfile.info(song).duration for song in songs)
    runs = {way: [] for way in ways}
    for number in range(repeat):
        for way, (function, options) in ways.items():
            program = folder / f"{function}.py"
            program.write_text(TIMED.format(way=function))
            output = folder / f"{way}-{number}"
            places = [str(warm), str(raw), str(output)]
            runs[way].append(run([sys.executable, str(program), *places, *options]))
    medians = {
        way: {key: statistics.median(one[key] for one in results) for key in results[0]}
        for way, results in runs.items()
    }
    seconds = {way: [one["seconds"] for one in results] for way, results in runs.items()}
    for way, result in medians.items():
        result["seconds_spread"] = [min(seconds[way]), max(seconds[way])]
        result["songs_a_second"] = rounded(len(songs) / result["seconds"])
        result["audio_seconds_a_second"] = rounded(audio_seconds / result["seconds"])
        result["times_the_original"] = paired_ratio(seconds["original"], seconds[way])["median"]
        share = paired_ratio(seconds["decoder_alone"], seconds[way])
        result["share_of_the_decoder"] = share["median"]
    return {
        "songs": len(songs),
        "audio_seconds": round(audio_seconds),
        "repetitions": repeat,
        "ways": medians,
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
    whole = time.monotonic() - start
    stop.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(output.decode()[-2000:])
    seconds = float(re.search(r"SECONDS ([\d.]+)", output.decode())[1])
    return {
        "seconds": round(seconds, 2),
        "seconds_with_start": round(whole, 2),
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


def songs_below(raw: str | Path) -> list[str]:
    return sorted(str(path) for path in Path(raw).rglob("*") if path.suffix in (".mp3", ".ogg"))


def original(raw: str, output: str, options: list[str]) -> None:
    """The original's way."""
    from benchmarks.peers.original_prepare import prepare

    prepare([Path(song) for song in songs_below(raw)], Path(output))


def decoder(raw: str, output: str, options: list[str]) -> None:
    """Two processes that decode and resample, and nothing else; their start is not counted."""
    global pool
    if pool is None:
        pool = ProcessPoolExecutor(2)
    list(pool.map(decode, songs_below(raw)))


def ours(raw: str, output: str, options: list[str]) -> None:
    """`prepare_dataset.py` with two workers."""
    import prepare_dataset

    sys.argv = ["prepare_dataset.py", raw, "--output_dir", output, "--num_workers", "2", *options]
    prepare_dataset.main()


def decode(path: str) -> int:
    """Decode and resample one song."""
    import torch

    from genreast.audio import load_audio

    torch.set_num_threads(1)
    return len(load_audio(path))


def make_long_songs(raw: Path, count: int, seconds: int = 180) -> Path:
    """`count` stereo mp3s of `seconds` at 44.1 kHz in two genres, each different."""
    paths = [raw / ("a", "b")[number % 2] / f"{number}.mp3" for number in range(count)]
    for path in paths[:2]:
        path.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda path: make_song(path, seconds, int(path.stem)), paths))
    return raw


if __name__ == "__main__":
    main()

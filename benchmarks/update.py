"""Seconds to add songs to a dataset with `--update`, beside preparing all of them anew.

    python -m benchmarks.update [--songs 100] [--new 5] [--seconds 180] [--repeat 3]

Writes benchmarks/results/update.json. Every run is the script as a user starts it, all in turn in
each repetition. The dataset with other splits takes its clips from one that holds all songs.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.faults import ROOT
from benchmarks.made_songs import make_song
from benchmarks.measure import in_turns, paired_ratio, save, summary
from benchmarks.prepare import make_long_songs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=100, help="songs that the dataset holds")
    parser.add_argument("--new", type=int, default=5, help="songs that come in")
    parser.add_argument("--seconds", type=int, default=180, help="their length")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="keep the result apart")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), args)
    command = (
        f"python -m benchmarks.update --songs {args.songs} --new {args.new}"
        f" --seconds {args.seconds} --repeat {args.repeat}"
    )
    save("update", result, command + " --quick" * args.quick, args.quick)


def measure(folder: Path, args: argparse.Namespace) -> dict:
    """Seconds of each way to the dataset of all songs, out of one that holds the earlier ones."""
    raw, earlier, whole = folder / "raw", folder / "earlier", folder / "whole"
    make_long_songs(raw, args.songs, args.seconds)
    prepare(raw, earlier)
    for number in range(args.new):
        make_song(raw / "a" / f"new {number}.mp3", args.seconds, seed=args.songs + number)
    prepare(raw, whole)

    def update() -> float:
        output = fresh(folder / "updated")
        shutil.copytree(earlier, output)
        return prepare(raw, output, "--update")

    seconds = in_turns(
        args.repeat,
        anew=lambda: prepare(raw, fresh(folder / "anew")),
        update=update,
        other_splits=lambda: prepare(
            raw, fresh(folder / "other"), "--seed", "1", "--clips_from", str(whole)
        ),
    )
    return {
        "songs": args.songs,
        "new_songs": args.new,
        "song_seconds": args.seconds,
        "ways": {
            way: summary(taken) | {"times_anew": paired_ratio(seconds["anew"], taken)["median"]}
            for way, taken in seconds.items()
        },
    }


def prepare(raw: Path, output: Path, *options: str) -> float:
    """Seconds of `prepare_dataset.py` from its start to its end."""
    script = [sys.executable, str(ROOT / "prepare_dataset.py")]
    command = [*script, str(raw), "--output_dir", str(output), *options]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def fresh(output: Path) -> Path:
    shutil.rmtree(output, ignore_errors=True)
    return output


if __name__ == "__main__":
    main()

"""Stop `prepare_dataset.py` at random moments, and feed it broken files: nothing may be lost.

    python -m benchmarks.faults --kills 25 --broken 160

Writes benchmarks/results/faults.json. The short forms of both checks run in the tests.
"""

import argparse
import csv
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = ("wav", "flac", "ogg", "mp3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--broken", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="keep the result apart")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kills = kill_test(Path(folder) / "kills", args.kills, args.seed)
        updates = kill_test(Path(folder) / "updates", args.kills, args.seed, update=True)
        broken = broken_test(Path(folder) / "broken", args.broken, args.seed)
    from benchmarks.measure import save  # here, for the tests need no torch to stop a run

    command = f"python -m benchmarks.faults --kills {args.kills} --broken {args.broken}"
    command += f" --seed {args.seed}" + " --quick" * args.quick
    result = {"kill_test": kills, "killed_updates": updates, "broken_files": broken}
    save("faults", result, command, args.quick)


def kill_test(
    folder: Path, kills: int, seed: int = 0, songs: int = 24, update: bool = False
) -> dict:
    """Kill `kills` runs with SIGKILL at random moments; each is finished and compared, byte for
    byte.

    A moment is a share of the time that an unstopped run takes; a run that was done before it is
    not counted. Before each finish the output must not exist, or be whole already. With `update`
    the output holds a dataset of two thirds of the songs, which may stand there still.
    """
    raw, earlier = folder / "raw", folder / "earlier" / "dataset"
    options = ["--update"] if update else []
    known = songs * 2 // 3 if update else 0
    if update:
        finish(make_songs(raw, known), earlier)
    make_songs(raw, songs, first=known)

    def begin(name: str) -> Path:
        output = folder / name / "dataset"
        shutil.copytree(earlier, output) if update else output.parent.mkdir()
        return output

    start = time.monotonic()
    finish(raw, unstopped := begin("whole"), *options)
    seconds = time.monotonic() - start
    whole = tree_digest(unstopped)
    sound = {whole, tree_digest(earlier)}  # of nothing where there is no earlier one
    lottery = random.Random(seed)
    identical = stopped = loaded_while_unfinished = 0
    while stopped < kills:
        output = begin("run")
        process = subprocess.Popen(command(raw, output, *options), **QUIET)
        try:
            process.wait(lottery.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        else:
            shutil.rmtree(output.parent)
            continue
        stopped += 1
        left = tree_digest(output)
        loaded_while_unfinished += output.exists() and left not in sound
        if work(output).exists() or left != whole:
            finish(raw, output, *options)
        identical += tree_digest(output) == whole and not work(output).exists()
        shutil.rmtree(output.parent)
    return {
        "stopped_midway": stopped,
        "byte_identical": identical,
        "seen_unfinished": loaded_while_unfinished,
        "seconds_unstopped": round(seconds, 1),
    }


def broken_test(folder: Path, count: int, seed: int = 0) -> dict:
    """Prepare a library with `count` broken files among sound ones; every one must be listed."""
    raw = make_songs(folder / "raw", 8)
    broken = make_broken(raw / "0_rock" / "broken", count, seed)
    start = time.monotonic()
    finish(raw, folder / "dataset")
    seconds = time.monotonic() - start
    with open(folder / "dataset" / "songs.csv", newline="", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    listed = [rows.get(path.relative_to(raw).as_posix()) for path in broken]
    statuses = [row["status"] if row else "missing" for row in listed]
    return {
        "files": len(broken),
        "listed": len(broken) - statuses.count("missing"),
        "without_reason": sum(
            bool(row) and row["status"] != "used" and not row["reason"] for row in listed
        ),
        "statuses": {name: statuses.count(name) for name in sorted(set(statuses))},
        "seconds": round(seconds, 1),
    }


def make_songs(root: Path, count: int, first: int = 0) -> Path:
    """`count` different short songs in two genres and four formats; those before the first are
    there already.
    """
    for number in range(first, count):
        noise = np.random.default_rng(number)
        time_ = np.arange(int(16_000 * noise.uniform(3, 14))) / 16_000
        notes = 220 * 2 ** (noise.integers(0, 24, len(time_) // 3000 + 1) / 12)
        tone = np.sin(2 * np.pi * np.cumsum(np.repeat(notes, 3000)[: len(time_)]) / 16_000)
        suffix = SUFFIXES[number // 2 % len(SUFFIXES)]
        path = root / ("0_rock", "1_jazz")[number % 2] / f"song {number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.3 * tone + 0.02 * noise.standard_normal(len(tone)), 16_000)
    return root


def make_broken(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """`count` broken files: cut short, bits flipped, wrong endings, empty, tags only, absurd."""
    sources = {}
    folder.mkdir(parents=True)
    for number, suffix in enumerate(SUFFIXES):
        path = folder.parent / f"source {number}.{suffix}"
        noise = np.random.default_rng(seed + number).standard_normal(16_000 * 4) * 0.1
        soundfile.write(path, noise, 16_000)
        sources[suffix] = path.read_bytes()
        path.unlink()
    lottery = random.Random(seed)
    kinds = (cut_short, flip_header, flip_body, swap_ending, tags_only, absurd_rate, rubbish, empty)
    paths = []
    for number in range(count):
        suffix = SUFFIXES[number // len(kinds) % len(SUFFIXES)]
        kind = kinds[number % len(kinds)]
        content, ending = kind(bytearray(sources[suffix]), suffix, lottery, sources)
        path = folder / f"{number:03d} {kind.__name__}.{ending}"
        path.write_bytes(content)
        paths.append(path)
    return paths


def cut_short(content, suffix, lottery, sources):
    return content[: lottery.randrange(1, len(content))], suffix


def flip_header(content, suffix, lottery, sources):
    for _ in range(8):
        content[lottery.randrange(64)] ^= 1 << lottery.randrange(8)
    return content, suffix


def flip_body(content, suffix, lottery, sources):
    for _ in range(200):
        content[lottery.randrange(64, len(content))] ^= 1 << lottery.randrange(8)
    return content, suffix


def swap_ending(content, suffix, lottery, sources):
    return content, lottery.choice([other for other in SUFFIXES if other != suffix] + ["m4a"])


def tags_only(content, suffix, lottery, sources):
    """An ID3 tag of random length with nothing after it."""
    length = lottery.randrange(10, 120)
    return b"ID3\x04\x00\x00\x00\x00\x00" + bytes([length]) + bytes(length), "mp3"


def absurd_rate(content, suffix, lottery, sources):
    """A wav whose header states a rate that no recording has."""
    wav = bytearray(sources["wav"])
    wav[24:28] = lottery.choice([0, 1, 7, 100, 2**31 - 1, 2**32 - 1]).to_bytes(4, "little")
    return wav, "wav"


def rubbish(content, suffix, lottery, sources):
    return lottery.randbytes(lottery.randrange(1, 20_000)), suffix


def empty(content, suffix, lottery, sources):
    return b"", suffix


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}


def command(raw: Path, output: Path, *options: str) -> list[str]:
    script = [sys.executable, str(ROOT / "prepare_dataset.py"), str(raw)]
    return [*script, "--output_dir", str(output), "--clip_seconds", "5", *options]


def finish(raw: Path, output: Path, *options: str) -> None:
    done = subprocess.run(command(raw, output, *options), capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(
            f"prepare_dataset.py ended with {done.returncode}: {done.stderr[-2000:]}"
        )


def work(output: Path) -> Path:
    return output.with_name(output.name + ".work")


def tree_digest(folder: Path) -> str:
    """A sha256 over the names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(path.relative_to(folder).as_posix().encode())
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


if __name__ == "__main__":
    main()

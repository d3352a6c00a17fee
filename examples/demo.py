"""The whole path in minutes: songs → dataset → model → evaluation → prediction → Hub page.

    python examples/demo.py                            # on songs composed for the purpose
    python examples/demo.py --raw_dir path/to/my/songs

`make demo` runs this. Each run leaves its results in a folder of its own under demo/.
"""

import argparse
import contextlib
import csv
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
REPO = "your-name/genreast-demo"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw_dir", type=Path, help="your own songs, one folder a genre")
    parser.add_argument("--output_dir", type=Path, default=Path("demo"), help="where runs go")
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, end)
    try:
        folder = new_folder(args.output_dir)
    except OSError as error:
        print(f"error: --output_dir '{error.filename}': {error.strerror}", file=sys.stderr)
        return 2
    raw, data, model = args.raw_dir, folder / "data", folder / "model"
    evaluation, timeline = folder / "evaluation", folder / "timeline.png"
    begin = time.monotonic()
    try:
        if raw is None:
            raw = folder / "songs"
            step("compose songs", "examples/make_songs.py", raw)
        splits = ["--val_fraction", "0.15", "--test_fraction", "0.2"]
        step("prepare the dataset", "prepare_dataset.py", raw, "--output_dir", data, *splits)
        train = [
            "train_hf.py",
            ROOT / "configs/demo.yaml",
            "--dataset",
            data,
            "--output_dir",
            model,
        ]
        launch = ["-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1"]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
        step("train", *train, launcher=launch)
        measure = ["--dataset", data, "--split", "test", "--output_dir", evaluation]
        step("evaluate on the test split", "evaluate_model.py", model, *measure)
        song = raw / test_song(data)
        step("listen to one test song", "predict_song.py", model, song, "--timeline", timeline)
        publish = ["--evaluation", evaluation, "--dry_run"]
        step("stage the Hub page", "push_to_hub.py", model, REPO, *publish)
    except subprocess.CalledProcessError as error:
        return error.returncode
    except KeyboardInterrupt:
        return 130
    print(summary(folder, time.monotonic() - begin, own_songs=args.raw_dir is not None))
    return 0


def new_folder(parent: Path) -> Path:
    """demo/run-1, or the next number that is free: an earlier run is never touched."""
    number = 1
    while (parent / f"run-{number}").exists():
        number += 1
    folder = parent / f"run-{number}"
    folder.mkdir(parents=True)
    return folder


def end(number: int, frame: object) -> None:
    """Take along what is running: else a training would go on unseen."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    sys.exit(128 + number)


def step(title: str, script: str, *words, launcher: list[str] = ()) -> None:
    """Run one of the project's scripts, showing the command a reader would type."""
    shown = "accelerate launch" if launcher else "python"
    arguments = [str(word) for word in words]
    print(f"\n── {title}\n$ {shown} {shlex.join([script, *map(readable, arguments)])}", flush=True)
    command = [sys.executable, *launcher, str(ROOT / script), *arguments]
    process = subprocess.Popen(command)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C reached it too: it says what it leaves, and ends its workers
        raise
    if status:
        raise subprocess.CalledProcessError(status, command)


def readable(word: str) -> str:
    """A path inside the project as seen from its top."""
    return word.removeprefix(f"{ROOT}/")


def test_song(data: Path) -> str:
    """The path, in the raw folder, of a song of the test split."""
    with open(data / "songs.csv", newline="", encoding="utf-8") as file:
        return next(row["path"] for row in csv.DictReader(file) if row["split"] == "test")


def summary(folder: Path, seconds: float, own_songs: bool) -> str:
    """What came out, where it lies, and what to do next."""
    metrics = json.loads((folder / "evaluation/metrics.json").read_text())
    song, clip = metrics["song"], metrics["clip"]
    lines = [
        f"\n── done in {seconds / 60:.1f} minutes",
        f"test songs   accuracy {song['accuracy']:.2f}, macro-F1 {song['macro_f1']:.2f} "
        f"({song['count']} songs; chance {1 / len(song['per_class']):.2f})",
        f"test clips   accuracy {clip['accuracy']:.2f}, macro-F1 {clip['macro_f1']:.2f} "
        f"({clip['count']} clips)",
        f"model        {folder / 'model'}",
        f"figures      {folder / 'evaluation'}, {folder / 'timeline.png'}",
        f"Hub page     {folder / 'model/hub_staging/README.md'}",
    ]
    if not own_songs:
        lines.append("your songs   make demo RAW=path/to/my/songs   (one folder a genre)")
    lines.append("for real     README.md, section 'Your own songs'")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""How fast songs are predicted and clips evaluated, beside what one would use instead.

    python -m benchmarks.prediction [--quick] [--only one_song]

Every pair runs in turns in one session, so that both meet the same machine. Weights are random:
speed does not depend on them. The result is benchmarks/results/prediction.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from benchmarks.made_songs import make_song
from benchmarks.markdown import QUICK, RESULTS, read_results
from benchmarks.measure import (
    ROOT,
    commit,
    cpu,
    in_turns,
    matrix_rate,
    paired_ratio,
    rounded,
    save,
    summary,
)
from genreast.audio import load_audio
from genreast.inference import GenreClassifier
from genreast.precision import multiplies_bfloat16

PARTS = ("long_mix", "one_song", "folder_of_songs", "small_model", "growth", "evaluation", "rates")
LENGTHS = (150, 300, 600)  # seconds, for the growth of what a song costs
GENRES = [f"genre {index}" for index in range(15)]


def make_model(folder: Path, **shape) -> str:
    """A random AST of fifteen genres; `base` is transformers' default shape."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(GENRES)), "label2id": {g: i for i, g in enumerate(GENRES)}}
    model = ASTForAudioClassification(ASTConfig(**shape, **names))
    torch.nn.init.normal_(model.classifier.dense.weight, std=0.3)
    model.save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    return str(folder)


def summaries(seconds: dict[str, list[float]]) -> dict[str, dict]:
    """Each run's seconds with their median and spread."""
    return {name: summary(values) for name, values in seconds.items()}


def script(*arguments: str) -> str:
    """Standard output of a Python script in a fresh process."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def one_song(model: str, folder: Path, repetitions: int) -> dict:
    """From process start to answer for a 160 s mp3."""
    song = make_song(folder / "song.mp3", 160, 0)
    answers = {}

    def ours():
        line = script("predict_song.py", model, song, "--format", "json", "--top_k", "99")
        answers["ours"] = {each["label"]: each["score"] for each in json.loads(line)["genres"]}

    def stock():
        answers["stock"] = json.loads(script("benchmarks/peers/stock_pipeline.py", model, song))

    found = in_turns(repetitions, ours=ours, stock=stock)
    apart = max(abs(answers["ours"][name] - answers["stock"][name]) for name in GENRES)
    top = [max(each, key=each.get) for each in answers.values()]
    return summaries(found) | {
        "times_faster": paired_ratio(found["stock"], found["ours"])["median"],
        "largest_difference_of_a_probability": apart,
        "same_top_genre": top[0] == top[1],
    }


def folder_of_songs(model: str, songs: list[str], repetitions: int) -> dict:
    """Windows a second, decoding included: five a song here, one a song in the original."""
    from benchmarks.peers import original_loop

    windows = {}

    def ours():
        classifier = GenreClassifier.from_pretrained(model, device="cpu")
        heard = classifier.predict(songs, max_windows=5)
        windows["ours"] = sum(len(prediction.starts) for prediction in heard)

    def original():
        windows["original"] = original_loop.predict(model, songs)

    found = summaries(in_turns(repetitions, ours=ours, original=original))
    for name, each in found.items():
        each["windows_per_second"] = rounded(windows[name] / each["median"])
    ours_rate, rate = (found[name]["windows_per_second"] for name in ("ours", "original"))
    return found | {"songs": len(songs), "times_the_rate": rounded(ours_rate / rate)}


def small_model(model: str, songs: list[str], repetitions: int) -> dict:
    """A small model, up to five windows a song, against decoding the songs and no more."""
    classifier = GenreClassifier.from_pretrained(model, device="cpu")

    def decode():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(load_audio, songs))

    def ours():
        list(classifier.predict(songs, max_windows=5))

    found = in_turns(repetitions, ours=ours, decoder=decode)
    share = paired_ratio(found["decoder"], found["ours"])["median"]
    return summaries(found) | {"songs": len(songs), "share_of_the_decoders_rate": share}


def growth(model: str, folder: Path, repetitions: int) -> dict:
    """Seconds that whole songs of some lengths take a small model."""
    classifier = GenreClassifier.from_pretrained(model, device="cpu")
    songs = {f"{length} s": make_song(folder / f"{length} s.mp3", length, 0) for length in LENGTHS}
    classifier(next(iter(songs.values())))  # the first call is slower

    def hear(song: str) -> None:
        classifier(song)

    runs = {name: partial(hear, song) for name, song in songs.items()}
    found = summaries(in_turns(repetitions, **runs))
    return {"song_seconds": LENGTHS, "seconds": [each["median"] for each in found.values()]}


def evaluation(model: str, clips: list[str], folder: Path, repetitions: int) -> dict:
    """Clips a second against the audio course's `trainer.evaluate()`."""
    from benchmarks.peers import audio_course

    classifier = GenreClassifier.from_pretrained(model, device="cpu")
    labels = [0] * len(clips)

    def ours():
        list(classifier.predict(clips, batch_size=16))

    def course():
        audio_course.evaluate(model, clips, labels, str(folder))

    found = in_turns(repetitions, ours=ours, course=course)
    faster = paired_ratio(found["course"], found["ours"])["median"]
    found = summaries(found)
    for each in found.values():
        each["clips_per_second"] = rounded(len(clips) / each["median"])
    return found | {"clips": len(clips), "times_faster": faster}


def matrix_rates() -> dict:
    """Operations a second of large matrix products. Where the CPU has bfloat16, prediction uses it:
    how far ahead it is depends on the two.
    """
    device = torch.device("cpu")
    kinds = {"float32": torch.float32}
    if multiplies_bfloat16(device):
        kinds["bfloat16"] = torch.bfloat16
    return {name: rounded(matrix_rate(device, kind)) for name, kind in kinds.items()}


def long_mix(model: str, folder: Path, hours: float, windows: int) -> dict:
    """Peak memory of a process that predicts a mix of many hours."""
    part, mix = make_song(folder / "part.mp3", 600, 1), str(folder / "mix.mp3")
    listing = folder / "parts.txt"
    listing.write_text(f"file '{part}'\n" * round(hours * 6))
    command = ["ffmpeg", "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", str(listing)]
    # Without a header that counts the frames: with one, nothing but the windows would be decoded.
    subprocess.run([*command, "-c", "copy", "-write_xing", "0", mix], check=True)
    script("predict_song.py", model, mix, "--max_windows", str(windows), "--format", "json")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    return {"hours": hours, "windows": windows, "peak_gigabytes": round(peak, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer songs and repetitions")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="parts to measure anew")
    args = parser.parse_args()
    quick, parts = args.quick, args.only or PARTS
    count, clips = (6, 8) if quick else (50, 64)
    # The others of the last run stay, each with the commit and the processor of its own.
    results = read_results(QUICK if quick else RESULTS).get("prediction", {}) if args.only else {}
    results = {part: results[part] for part in PARTS if part in results}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = make_model(folder / "base")
        small = make_model(
            folder / "small",
            hidden_size=192,
            num_hidden_layers=4,
            num_attention_heads=3,
            intermediate_size=768,
            time_stride=16,
            frequency_stride=16,
        )
        # First, for a child's peak memory is the largest of all children so far.
        if "long_mix" in parts:
            results["long_mix"] = long_mix(base, folder, 10, 8 if quick else 60)
        if "one_song" in parts:
            results["one_song"] = one_song(base, folder, 1 if quick else 3)
        many = {"folder_of_songs", "small_model"} & set(parts)
        songs = [make_song(folder / f"{n}.mp3", 180 + n, n) for n in range(count if many else 0)]
        if "folder_of_songs" in parts:
            results["folder_of_songs"] = folder_of_songs(base, songs, 1)
        if "small_model" in parts:
            results["small_model"] = small_model(small, songs, 3)
        if "growth" in parts:
            results["growth"] = growth(small, folder, 3)
        if "evaluation" in parts:
            cut = [make_song(folder / f"clip{n}.flac", 10, n) for n in range(clips)]
            results["evaluation"] = evaluation(base, cut, folder, 1)
        if "rates" in parts:
            results["rates"] = matrix_rates()
    for part in parts:
        results[part] |= {"commit": commit(), "cpu": cpu()}
    command = "python -m benchmarks.prediction" + " --quick" * quick
    save("prediction", results, command, quick)


if __name__ == "__main__":
    main()

"""Clips a second from waveform to log-mel: `ASTFeatureExtractor` and ours, on the same 10 s clips.

    python -m benchmarks.features [--quick]

The extractor computes in NumPy and takes one core whatever the threads.
"""

import argparse

import numpy as np
import torch
from transformers import ASTFeatureExtractor

from benchmarks.measure import in_turns, paired_ratio, save, summary, synchronise
from genreast.audio import SAMPLING_RATE
from genreast.features import LogMel

CLIP_SECONDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer clips and repetitions")
    quick = parser.parse_args().quick
    command = "python -m benchmarks.features" + (" --quick" if quick else "")
    clips, repetitions = (16, 2) if quick else (64, 7)
    save("features", measure(clips, repetitions), command, quick)


def measure(clips: int, repetitions: int) -> dict:
    """Clips a second of every way, ratios to the extractor, and the growth of ours with size."""
    sound = np.random.default_rng(0).normal(0, 0.1, (clips, CLIP_SECONDS * SAMPLING_RATE))
    waveforms = torch.from_numpy(sound.astype(np.float32))
    runs = {"extractor": stock(waveforms)}
    for threads in (1, 2):
        runs[f"float64, {named(threads)}"] = ours(waveforms, "cpu", torch.float64, threads)
        runs[f"float32, {named(threads)}"] = ours(waveforms, "cpu", torch.float32, threads)
    if torch.cuda.is_available():
        runs["float64, GPU"] = ours(waveforms, "cuda", torch.float64)
        runs["float32, GPU"] = ours(waveforms, "cuda", torch.float32)
    for run in runs.values():
        run()  # the first call makes filters and starts threads
    seconds = in_turns(repetitions, **runs)
    ways = {}
    for name, taken in seconds.items():
        ways[name] = {"clips_per_second": summary([clips / one for one in taken])}
        ways[name]["times_the_extractor"] = paired_ratio(seconds["extractor"], taken)
    return {
        "clips": clips,
        "clip_seconds": CLIP_SECONDS,
        "repetitions": repetitions,
        "largest_difference": largest_difference(waveforms[:4]),
        "ways": ways,
        "growth": growth(waveforms, repetitions),
    }


def named(threads: int) -> str:
    return f"{threads} thread" + "s" * (threads > 1)


def stock(waveforms: torch.Tensor):
    """The stock extractor over the clips, as a dataset's transform calls it."""
    extractor = ASTFeatureExtractor()
    arrays = list(waveforms.numpy())
    return lambda: extractor(arrays, sampling_rate=SAMPLING_RATE, return_tensors="pt") and None


def ours(waveforms: torch.Tensor, device: str, dtype: torch.dtype, threads: int | None = None):
    """Our features on a device; training mode computes in float32, evaluation in float64."""
    features = LogMel(ASTFeatureExtractor()).train(dtype == torch.float32)
    there = waveforms.to(device)

    def run() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        features(there)
        synchronise(there.device)
        torch.set_num_threads(before)

    return run


def growth(waveforms: torch.Tensor, repetitions: int) -> dict:
    """Seconds of ours in float32 on one thread against the number of clips."""
    sizes = [len(waveforms) // 4, len(waveforms) // 2, len(waveforms)]
    runs = {str(size): ours(waveforms[:size], "cpu", torch.float32, 1) for size in sizes}
    seconds = [summary(values)["median"] for values in in_turns(repetitions, **runs).values()]
    return {"clips": sizes, "seconds": seconds}


def largest_difference(waveforms: torch.Tensor) -> float:
    """Between the extractor's values and ours in float64."""
    extractor = ASTFeatureExtractor()
    theirs = extractor(list(waveforms.numpy()), SAMPLING_RATE, return_tensors="pt")["input_values"]
    return float((LogMel(extractor).eval()(waveforms) - theirs).abs().max())


if __name__ == "__main__":
    main()

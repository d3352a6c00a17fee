"""Peer: the stock `pipeline` in float32 on each 10 s window of one song, as its users write it.

python benchmarks/peers/stock_pipeline.py MODEL SONG
"""

import json
import sys

import numpy as np
from transformers import pipeline
from transformers.pipelines.audio_utils import ffmpeg_read


def main(model: str, song: str) -> None:
    classify = pipeline("audio-classification", model=model, device="cpu")
    with open(song, "rb") as file:
        audio = ffmpeg_read(file.read(), 16_000)
    starts = range(0, max(len(audio) - 160_000, 0) + 1, 160_000)
    rows = []
    for start in starts:
        scores = classify(audio[start : start + 160_000], top_k=None)
        rows.append({each["label"]: each["score"] for each in scores})
    names = sorted(rows[0])
    mean = np.log([[row[name] for name in names] for row in rows]).mean(0)
    shares = np.exp(mean) / np.exp(mean).sum()
    print(json.dumps(dict(zip(names, shares.tolist(), strict=True))))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How costs grow with size: exponents fitted on the measured results."""

import math
import statistics
from dataclasses import dataclass
from typing import Any

FEWEST_SIZES = 3


@dataclass(frozen=True)
class Growth:
    """cost = a · size^b, by least squares on logarithms; 1 is linear."""

    what: str
    unit: str
    sizes: list[float]
    costs: list[float]

    @property
    def b(self) -> float:
        x, y = ([math.log(value) for value in values] for values in (self.sizes, self.costs))
        return statistics.linear_regression(x, y).slope


def exponents(results: dict[str, dict[str, Any]]) -> list[Growth]:
    """Every growth that was measured at three sizes or more."""
    found = [
        preparing(results, "seconds", "seconds to prepare a dataset"),
        preparing(results, "peak_mb", "memory to prepare a dataset"),
        duplicates(results),
        features(results),
        training(results),
        prediction(results),
    ]
    return [growth for growth in found if len(growth.sizes) >= FEWEST_SIZES]


def preparing(results: dict, key: str, what: str) -> Growth:
    """Against the number of songs, all equally long; those of the longest series of sizes."""
    series: dict[float, list[tuple[float, float]]] = {}
    for name, result in results.items():
        if name.startswith("prepare-") and name.endswith("_made_songs"):
            length = result["audio_seconds"] / result["songs"]
            cost = result["ways"]["everything_on"][key]
            series.setdefault(round(length), []).append((result["songs"], cost))
    points = sorted(max(series.values(), key=len, default=[]))
    return Growth(what, "songs", *split(points))


def duplicates(results: dict) -> Growth:
    sizes = results.get("duplicates", {}).get("sizes", [])
    points = [(one["songs"], one["processor_seconds"]) for one in sizes]
    return Growth("seconds to search for copies", "songs", *split(points))


def features(results: dict) -> Growth:
    found = results.get("features", {}).get("growth", {"clips": [], "seconds": []})
    return Growth("seconds to make features", "clips", found["clips"], found["seconds"])


def training(results: dict) -> Growth:
    nothing = {"window_seconds": [], "seconds_a_sample": []}
    found = results.get("training", {}).get("growth", nothing)
    what = "seconds of training a sample, tiny"
    return Growth(what, "s windows", found["window_seconds"], found["seconds_a_sample"])


def prediction(results: dict) -> Growth:
    nothing = {"song_seconds": [], "seconds": []}
    found = results.get("prediction", {}).get("growth", nothing)
    what = "seconds to predict a whole song, small model"
    return Growth(what, "s of song", found["song_seconds"], found["seconds"])


def split(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Pairs as two lists."""
    return [size for size, _ in points], [cost for _, cost in points]

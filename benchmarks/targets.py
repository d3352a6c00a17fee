"""What this project set out to reach, and where each result stands against it."""

from dataclasses import dataclass
from typing import Any

from benchmarks.markdown import figure

PREPARED = ("prepare-waivops_mini", "prepare-20_made_songs")


@dataclass(frozen=True)
class Target:
    """A figure to reach: where it is in the results, and on which side of `value` it should be."""

    text: str
    result: str
    path: tuple[str | int, ...]
    value: float
    at_most: bool = False
    unit: str = "×"
    why_missed: str = ""  # shown where it is missed, with the figure of `limit` for its {}
    limit: tuple[str | int, ...] = ()

    def measured(self, results: dict[str, Any]) -> float | None:
        """The figure, or None where it was not measured."""
        return _at(self.path, results.get(self.result))

    def reason(self, results: dict[str, Any]) -> str:
        """Why the figure is missed; empty where that is not known."""
        limit = _at(self.limit, results[self.result]) if self.limit else 0.0
        return self.why_missed.format(figure(limit))

    def met(self, figure: float) -> bool:
        return figure <= self.value if self.at_most else figure >= self.value


def _at(path: tuple[str | int, ...], found: Any) -> Any:
    """What a result holds at a path of keys, or None."""
    try:
        for key in path:
            found = found[key]
    except (KeyError, IndexError, TypeError):
        return None
    return found


DECODING = ("ways", "decoder_alone", "times_the_original")
RATES = "bfloat16 gains too little over float32 on this CPU"


def prediction(text: str, part: str, key: str, value: float, **options) -> Target:
    return Target(text, "prediction", (part, key), value, **options)


def prepared(text: str, way: str, key: str, value: float, **options) -> list[Target]:
    names = {"prepare-waivops_mini": "waivops_mini", "prepare-20_made_songs": "3-minute songs"}
    return [
        Target(f"{text}, {names[name]}", name, ("ways", way, key), value, **options)
        for name in PREPARED
    ]


def training(text: str, size: str) -> Target:
    way = "bfloat16, patchout 0.5"
    path = ("sizes", size, way, "times_the_recipe", "median")
    return Target(text, "training", path, 4)


def probe(text: str, size: str) -> Target:
    return Target(text, "probe", ("sizes", size, "times_faster", "median"), 20)


def quality(text: str, dataset: str) -> Target:
    path = ("gains", dataset, "song", "mean_gain_in_points")
    return Target(text, "quality", path, 10, unit=" points")


TARGETS = [
    *prepared(
        "preparing against the original's way, all on",
        "everything_on",
        "times_the_original",
        3,
        why_missed="decoding alone reaches {}×; beside it are features, fingerprints and FLAC",
        limit=DECODING,
    ),
    *prepared(
        "the same without duplicates and statistics",
        "duplicates_and_statistics_off",
        "times_the_original",
        4,
        why_missed="decoding alone, the limit, reaches {}×",
        limit=DECODING,
    ),
    *prepared(
        "peak memory of preparing", "everything_on", "peak_mb", 1200, at_most=True, unit=" MB"
    ),
    training("training against the recipe, tiny", "tiny"),
    training("training against the recipe, small", "small"),
    probe("later epochs of a linear probe against the first, tiny", "tiny"),
    probe("later epochs of a linear probe against the first, small", "small"),
    quality("song macro-F1 over the recipe's after equal time, waivops_mini", "waivops_mini"),
    quality("clip macro-F1 over the recipe's after equal time, esc10_mini", "esc10_mini"),
    prediction(
        "one song against the stock pipeline", "one_song", "times_faster", 3, why_missed=RATES
    ),
    prediction(
        "windows a second over a folder, against the original's loop",
        "folder_of_songs",
        "times_the_rate",
        4,
        why_missed=RATES,
    ),
    prediction(
        "a small model against the bare decoder",
        "small_model",
        "share_of_the_decoders_rate",
        0.75,
    ),
    prediction("evaluating against the recipe", "evaluation", "times_faster", 3, why_missed=RATES),
    prediction(
        "memory of a ten-hour mix", "long_mix", "peak_gigabytes", 2.5, at_most=True, unit=" GB"
    ),
    Target("AST-base on a GPU, share of its matrix rate", "gpu", ("best", "0"), 0.5),
    Target("half the patches left out, against none", "gpu", ("gain_of_half",), 2),
]

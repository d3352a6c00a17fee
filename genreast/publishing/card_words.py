"""How a model's facts read on its page: the sentences, and the rows of the tables."""

from dataclasses import dataclass
from typing import Any

from genreast.evaluation.summary import number
from genreast.publishing.model_facts import ModelFacts
from genreast.publishing.staging import FIGURES

Table = tuple[list, list[list]]  # header, rows

METRICS = {  # key in metrics.json: (name for people, the Hub's metric id)
    "accuracy": ("Accuracy", "accuracy"),
    "balanced_accuracy": ("Balanced accuracy", "balanced_accuracy"),
    "macro_f1": ("Macro F1", "f1"),
    "mean_average_precision": ("Mean average precision", "mean_average_precision"),
    "ece": ("Expected calibration error", "ece"),
}
RECIPE = {  # setting in training_config.yaml: its name in the card's table
    "from_scratch": "size, from random weights",
    "freeze": "frozen",
    "window_seconds": "window, s",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "learning_rate": "learning rate",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warm-up",
    "layer_decay": "learning rate of a layer against the one above",
    "per_device_train_batch_size": "batch size a device",
    "gradient_accumulation_steps": "gradient accumulation",
    "weight_decay": "weight decay",
    "loss": "loss",
    "label_smoothing_factor": "label smoothing",
    "class_weights": "class weights",
    "sampling_exponent": "sampling exponent (1 balances the genres)",
    "mixup_alpha": "mixup, alpha",
    "mixup_probability": "mixup, share of batches",
    "mask_time_frames": "longest time mask, frames of 10 ms",
    "mask_mel_bins": "widest frequency mask, mel bins",
    "gain_db": "random gain, dB",
    "time_roll": "time roll",
    "patchout": "patches left out",
    "average_checkpoints": "checkpoints averaged",
    "bf16": "bf16",
    "fp16": "fp16",
    "seed": "seed",
}
SEEN = {  # split: what training had to do with it
    "train": ", on which it was trained",
    "validation": ", which also picked the best checkpoint",
    "test": ", which the training did not see",
}
HELD_OUT = "a part of the train split{} that training held out"
OTHER_DATASET = "another dataset than the training's"
POOLED = {  # --pooling of the evaluation: how it reads
    "log_probability": " by the mean of their log-probabilities",
    "probability": " by the mean of their probabilities",
    "vote": " by vote",
}
SPLIT_FACTS = {  # key under dataset.preparation in training_config.yaml: how it reads
    "genre_by": "a song's genre: by {}",
    "group_by": "never in two splits: {}",
    "seed": "seed: {}",
    "splits_from": "splits: by {}",
    "duplicates": "recordings left out as duplicates: {}",
    "clip_seconds": "clips of at most {} s",
}
SAID = {  # the same key: values that read otherwise than they are recorded
    "genre_by": {"own table": "a table"},
    "splits_from": {"own table": "a table"},
    "group_by": {
        "song": "clips of one song",
        "artist": "songs of one artist",
        "album": "songs of one album",
        "folder": "songs of one folder",
        "own group": "songs of one group",
    },
}
GROUPS = {  # what preparation grouped by: what a group of its split is
    "song": "each a song with its near copies",
    "artist": "each the songs of one artist",
    "album": "each the songs of one album",
    "folder": "each the songs of one folder",
}
FEW_TRAIN_SONGS = 20  # a genre with fewer is named as rare
NAMED = 5  # genres that a sentence lists; of more it gives the number
FEW_TEST_SONGS = 10  # a genre's own scores on fewer are hardly more than anecdotes


@dataclass(frozen=True)
class CardWords:
    """What the page says of facts; None or empty where they tell nothing."""

    facts: ModelFacts

    @property
    def measured_on(self) -> str:
        """What the scores were measured on, and what training had to do with it."""
        facts = self.facts
        if facts.same_dataset is False:
            return f"the {facts.split} split of {OTHER_DATASET}"
        name = facts.measured_dataset
        of = f" of [{name}](https://huggingface.co/datasets/{name})" if name else ""
        split = HELD_OUT.format(of) if facts.measured_held_out else f"the {facts.split} split{of}"
        return split + self._seen

    @property
    def _seen(self) -> str:
        facts = self.facts
        picked = facts.settings.get("load_best_model_at_end")
        if not facts.same_dataset or (facts.split == "validation" and not picked):
            return ""
        return SEEN.get(facts.split, "")

    @property
    def measured_split(self) -> str:
        """The split's name in the metadata, or what it is where the dataset has none such."""
        if self.facts.measured_held_out:
            return HELD_OUT.format("")
        return self.facts.split or "test"

    @property
    def measured_dataset(self) -> str:
        """The dataset's name in the metadata."""
        facts = self.facts
        other = OTHER_DATASET if facts.same_dataset is False else f"the songs of {facts.name}"
        return facts.measured_dataset or other

    @property
    def pooled(self) -> str:
        """How a song's answer is made of its clips', with a space before it; empty if unknown."""
        return POOLED.get(self.facts.pooling, "")

    @property
    def bootstrap(self) -> str | None:
        """How the intervals in the metrics' table were drawn; None where it has none."""
        facts = self.facts
        units = [facts.intervals.get(unit, {}) for unit in facts.metrics]
        drawn = [spans for spans in units if any(spans.get(key) for key in METRICS)]
        if not drawn:
            return None
        words = f"bootstrap over {drawn[0].get('groups', 'the')} groups"
        grouped = facts.same_dataset and not facts.ungrouped
        each = GROUPS.get(facts.preparation.get("group_by")) if grouped else None
        return f"{words}, {each}" if each else words

    @property
    def split_facts(self) -> list[str]:
        """How the splits were made, a sentence each."""
        given = self.facts.preparation
        known = {key: _plain(given[key]) for key in SPLIT_FACTS if key in given}
        said = {key: SAID.get(key, {}).get(value, value) for key, value in known.items()}
        if self.facts.ungrouped:
            songs = sum(sum(counts.values()) for counts in self.facts.songs.values())
            said["group_by"] += f"; {self.facts.ungrouped} of {songs} have none"
        sentences = [SPLIT_FACTS[key].format(value) for key, value in said.items()]
        if self.facts.held_out:
            sentences.append(f"validation: {HELD_OUT.format('')}")
        return sentences

    @property
    def recipe(self) -> dict[str, str]:
        """The settings worth a row: those of `RECIPE` that are neither unset nor turned off."""
        settings = {**self.facts.settings, "average_checkpoints": self.facts.averaged}
        off = dict.fromkeys(RECIPE, (None, "none", False, 0, -1))
        off |= {"seed": (None,)}
        off |= dict.fromkeys(("layer_decay", "gradient_accumulation_steps"), (None, 1))
        if not settings.get("mixup_alpha"):
            settings = {**settings, "mixup_probability": None}
        found = {key: settings.get(key) for key in RECIPE}
        rows = {RECIPE[key]: value for key, value in found.items() if value not in off[key]}
        if RECIPE["max_steps"] in rows:  # the Trainer then counts no epochs
            rows.pop(RECIPE["num_train_epochs"], None)
        return {name: _plain(value) for name, value in rows.items()}

    @property
    def rare_genres(self) -> str | None:
        """The genres of few songs to train on, in words."""
        return few(self.facts.songs.get("train", {}), FEW_TRAIN_SONGS)

    @property
    def barely_tested(self) -> str | None:
        """The genres measured on few songs or clips, in words."""
        scores = self.facts.metrics.get(self.facts.unit, {}).get("per_class", {})
        return few({genre: scores[genre]["support"] for genre in scores}, FEW_TEST_SONGS)

    @property
    def captions(self) -> dict[str, str]:
        """What each figure shows, by its file's name."""
        unit = f"{self.facts.unit}s"
        return {name: shown.replace("songs", unit) for name, shown in FIGURES.items()}

    @property
    def song_table(self) -> Table:
        """Songs a genre and split, and their sum."""
        songs = self.facts.songs
        rows = [[g, *(counts.get(g, 0) for counts in songs.values())] for g in self.facts.genres]
        total = ["all", *(sum(counts.values()) for counts in songs.values())]
        return ["genre", *songs], [*rows, total]

    @property
    def metric_table(self) -> Table:
        """Each metric on songs and on clips, with its interval where known."""
        metrics = self.facts.metrics
        counts = {unit: scores.get("count") for unit, scores in metrics.items()}
        header = ["", *(f"{n} {unit}s" if n else f"{unit}s" for unit, n in counts.items())]
        keys = [key for key in METRICS if any(key in scores for scores in metrics.values())]
        return header, [[METRICS[key][0], *(self._cell(u, key) for u in metrics)] for key in keys]

    def _cell(self, unit: str, key: str) -> str:
        interval = self.facts.intervals.get(unit, {}).get(key)
        brackets = " ({:.3f} to {:.3f})".format(*interval) if interval else ""
        return number(self.facts.metrics[unit].get(key)) + brackets

    @property
    def genre_table(self) -> Table | None:
        """Each genre's own scores, on songs where they were measured."""
        unit = next(iter(self.facts.metrics), None)
        per_class = self.facts.metrics.get(unit, {}).get("per_class")
        if not per_class:
            return None
        keys = ["precision", "recall", "f1", "average_precision"]
        rows = [
            [genre, scores["support"], *(number(scores.get(key)) for key in keys)]
            for genre, scores in per_class.items()
        ]
        return ["genre", f"{unit}s", "precision", "recall", "F1", "average precision"], rows

    @property
    def onnx_table(self) -> Table:
        """Size, speed and distance from PyTorch of each file that holds the weights."""
        header = ["file", "numbers", "size, MB", "one window, ms", "largest move of a probability"]
        rows = []
        for row in self.facts.onnx["files"]:
            moved = row.get("largest_probability_difference")
            size, time = f"{row['bytes'] / 1e6:.1f}", f"{1000 * row['seconds']:.0f}"
            moved = "–" if moved is None else f"{moved:.2g}"
            rows.append([row["file"], row["precision"], size, time, moved])
        return header, rows


def few(counts: dict[str, int], least: int) -> str | None:
    """The genres with fewer than `least` songs, in words; None when there is none."""
    rare = {genre: n for genre, n in counts.items() if n < least}
    if not rare:
        return None
    if len(rare) <= NAMED:
        return ", ".join(f"{genre} ({n})" for genre, n in rare.items())
    rarest = min(rare, key=rare.get)
    return f"{len(rare)} of {len(counts)} genres, the rarest being {rarest} ({rare[rarest]})"


def _plain(value: Any) -> str:
    if value is True:
        return "yes"
    return f"{value:g}" if isinstance(value, float) else str(value)

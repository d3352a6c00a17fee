"""Does what is published say what was measured? Scores of the stock pipeline against known ones.

The known scores are those of the evaluation, on its own clips; without an evaluation at hand, those
of the model folder on a made sound, which still shows that the published files load and agree.
"""

import csv
import glob
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, pipeline
from transformers.utils import logging

from genreast import pretrained
from genreast.audio import FRAME_LENGTH, SAMPLING_RATE, AudioError, load_audio
from genreast.errors import UserError, one_line
from genreast.model_window import window_samples

CLIPS = 8
MADE_SOUND = "a made sound"
# Evaluating in bfloat16 moves a probability by up to a hundredth or two, a GPU by far less; other
# weights, labels in another order or another mean and std move it by far more.
TOLERANCES = {"float32": 0.01, "bfloat16": 0.03}


@dataclass(frozen=True)
class KnownClip:
    """A sound (samples,) at 16 kHz and the probability of each genre that it was given."""

    name: str
    samples: np.ndarray
    scores: dict[str, float]
    tolerance: float = TOLERANCES["float32"]


def known_clips(
    model_dir: Path, evaluation: Path | None, metrics: dict, dataset_dir: Path | None
) -> list[KnownClip]:
    """Some evaluated clips with their scores, spread over the split; else one made sound.

    Raises UserError where the model's files are damaged or do not fit each other.
    """
    model, extractor = pretrained.load(str(model_dir))
    clips = _evaluated(evaluation, metrics, dataset_dir, model.config) if evaluation else []
    if clips:
        return clips
    seconds = np.arange(5 * SAMPLING_RATE) / SAMPLING_RATE
    sound = 0.3 * np.sin(2 * np.pi * (220 + 80 * seconds) * seconds).astype(np.float32)
    return [KnownClip(MADE_SOUND, sound, _scores(model, extractor, sound))]


def describe(clips: list[KnownClip]) -> str:
    """What scores are compared on, for the user."""
    if clips[0].name == MADE_SOUND:
        return "no evaluated clip at hand; the published files agree with the model on a made sound"
    return f"pipeline() gives {len(clips)} evaluated clips the scores they were measured with"


def check_scores(folder: Path, clips: list[KnownClip]) -> None:
    """Load a folder with `pipeline("audio-classification")` and compare scores with known ones.

    Raises UserError when it does not load or a probability differs by more than the clip allows.
    """
    logging.disable_progress_bar()  # reading one file from disk: nothing to wait for
    try:
        classifier = pipeline("audio-classification", model=str(folder), device="cpu")
    except Exception as error:  # of any kind, where a file is not as transformers wrote it
        reason = one_line(error)
        raise UserError(f"pipeline() cannot load what is to be published: {reason}") from error
    for clip in clips:
        answers = classifier(clip.samples, top_k=None)
        scores = {answer["label"]: answer["score"] for answer in answers}
        if scores.keys() != clip.scores.keys():
            raise UserError(
                f"the published model knows {', '.join(sorted(scores))}; expected"
                f" {', '.join(sorted(clip.scores))}"
            )
        worst = max(scores, key=lambda label: abs(scores[label] - clip.scores[label]))
        if not abs(scores[worst] - clip.scores[worst]) <= clip.tolerance:
            raise UserError(
                f"pipeline() gives {clip.name} {scores[worst]:.3f} for {worst}, but it was measured"
                f" with {clip.scores[worst]:.3f}: evaluate this model again and publish that"
            )


def _evaluated(
    evaluation: Path, metrics: dict, dataset_dir: Path | None, config: ASTConfig
) -> list[KnownClip]:
    """Clips of predictions.csv whose sound is at hand and fits in the model's window."""
    path = evaluation / "predictions.csv"
    if not path.is_file():
        return []
    rows, longest = _predictions(path, list(config.id2label.values())), window_samples(config)
    if not rows:
        return []
    split = Path(dataset_dir or metrics.get("dataset") or "") / str(metrics.get("split"))
    tolerance = TOLERANCES.get(metrics.get("precision"), TOLERANCES["float32"])
    spread = (rows[number * len(rows) // CLIPS] for number in range(CLIPS))
    clips = []
    for name, scores in dict(spread).items():
        # A clip's name is its path in the split's folder, or in that of its only genre.
        paths = [split / name, *split.glob(f"*/{glob.escape(name)}")]
        try:
            samples = load_audio(next(filter(Path.is_file, paths), split / name))
        except AudioError:
            continue
        if FRAME_LENGTH <= len(samples) <= longest:
            clips.append(KnownClip(name, samples, scores, tolerance))
    return clips


def _predictions(path: Path, labels: list[str]) -> list[tuple[str, dict[str, float]]]:
    """Each clip of a predictions.csv with its scores; none where the table is of other genres."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, restval="")
            if not {"clip", *labels} <= set(rows.fieldnames or ()):
                return []
            return [(row["clip"], {label: float(row[label]) for label in labels}) for row in rows]
    except (ValueError, csv.Error) as error:
        reason = one_line(error)
        raise UserError(f"'{path}' is damaged or edited ({reason}): evaluate again") from error


def _scores(
    model: ASTForAudioClassification, extractor: ASTFeatureExtractor, samples: np.ndarray
) -> dict[str, float]:
    """Probabilities by label, through the model and its extractor without the pipeline."""
    inputs = extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt")
    with torch.inference_mode():
        probabilities = model(**inputs).logits.softmax(-1)[0].tolist()
    return dict(zip(pretrained.label_names(model), probabilities, strict=True))

"""The model card: facts and how they read → README.md, by the template `model_card.md`.

The template leaves out the sentence or section of what is not known.
"""

import re
from pathlib import Path

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from genreast.pages import literal
from genreast.publishing.card_words import FEW_TEST_SONGS, FEW_TRAIN_SONGS, METRICS, CardWords
from genreast.publishing.licenses import check_license
from genreast.publishing.model_facts import ModelFacts


def card_data(facts: ModelFacts) -> ModelCardData:
    """The metadata block: what the Hub's search, widget and leaderboards read."""
    tags = ["audio-classification", "music", "music-genre-classification", "genreast"]
    tags += ["onnx", "transformers.js"] if facts.onnx else []
    dataset = facts.dataset_repo or facts.trained_on
    return ModelCardData(
        license=facts.license,
        base_model=facts.base_model,
        base_model_relation="finetune" if facts.base_model else None,
        datasets=[dataset] if dataset else None,
        pipeline_tag="audio-classification",
        library_name="transformers",
        metrics=["accuracy", "f1"] if facts.metrics else None,
        tags=tags,
        model_name=facts.name if facts.metrics else None,
        eval_results=_eval_results(facts) or None,
    )


def _eval_results(facts: ModelFacts) -> list[EvalResult]:
    """One result a metric and unit: song and clip scores are different measures."""
    results = []
    words = CardWords(facts)
    for unit, scores in facts.metrics.items():
        for key, (name, metric_id) in METRICS.items():
            if not isinstance(scores.get(key), int | float):
                continue
            interval = facts.intervals.get(unit, {}).get(key)
            rounded = [round(bound, 4) for bound in interval] if interval else None
            arguments = {"unit": unit, "confidence_interval_95": rounded}
            results.append(
                EvalResult(
                    task_type="audio-classification",
                    task_name="Music genre classification",
                    dataset_type=facts.measured_dataset or "audiofolder",
                    dataset_name=words.measured_dataset,
                    dataset_split=words.measured_split,
                    metric_type=metric_id,
                    metric_name=f"{name} per {unit}",
                    metric_value=round(scores[key], 4),
                    metric_args=arguments,
                )
            )
    return results


def render(facts: ModelFacts, template: Path) -> str:
    """The whole README.md. Raises UserError for an unknown licence id."""
    check_license(facts.license)
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["literal"] = literal
    page = environment.from_string(template.read_text(encoding="utf-8"))
    words, least = CardWords(facts), {"few_train": FEW_TRAIN_SONGS, "few_test": FEW_TEST_SONGS}
    body = page.render(facts=facts, words=words, **least)
    body = re.sub(r"\n{3,}", "\n\n", body.strip())
    return str(ModelCard(f"---\n{card_data(facts).to_yaml()}\n---\n\n{body}\n"))

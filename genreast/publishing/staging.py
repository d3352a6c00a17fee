"""What goes to the Hub: a model folder → a staging folder with exactly the files that belong there.

Files are named one by one, never copied by folder; texts lose their paths. Nothing here touches the
network.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from genreast.errors import UserError
from genreast.evaluation.summary import METRICS_FILE
from genreast.pages import PAGE_FILE, write_page
from genreast.pretrained import (
    CONFIG_FILE,
    EXTRACTOR_FILE,
    MODEL_FILES,
    RECORD_FILE,
    WEIGHTS_FILE,
    check_classifier,
    check_kinds,
    genres_of,
    open_weights,
    read_json,
    weights_fingerprint,
)
from genreast.publishing.redaction import copy_scalars, public_text
from genreast.publishing.staging_folder import fill_aside

FIGURES = {  # the pictures that go public, by file name without .png: what each shows
    "confusion_matrix": "Confusion matrix of the songs, in counts",
    "confusion_matrix_normalised": "Confusion matrix of the songs, as shares of each true genre",
    "f1_against_share": "F1 of each genre against its share of the training songs",
    "reliability": "Reliability diagram",
    "learning_curves": "Learning curves",
    "timeline": "Genres over the time of one song",
}
ONNX_DIR = "onnx"
FLOAT32_FILE, INT8_FILE = "model.onnx", "model_quantized.onnx"  # as Transformers.js names them
MEASUREMENTS_FILE = "measurements.json"  # how large, fast and exact the two are
ONNX_FILES = (FLOAT32_FILE, INT8_FILE, MEASUREMENTS_FILE)
STAGED = (
    *MODEL_FILES,
    PAGE_FILE,
    METRICS_FILE,
    RECORD_FILE,
    *(f"figures/{name}.png" for name in FIGURES),
    "runs/events.out.tfevents.*",
    *(f"{ONNX_DIR}/{name}" for name in ONNX_FILES),
)
METRICS_KINDS = {  # what is read of an evaluation's metrics
    **dict.fromkeys(("song", "clip", "confidence_intervals"), dict),
    **dict.fromkeys(("split", "unit", "pooling", "precision", "dataset"), str),
    **dict.fromkeys(("dataset_fingerprint", "model_fingerprint"), str),
}
# Files that an earlier run may have published, and that no longer describe the model once gone.
OWNED = tuple(name for name in STAGED if name not in (*MODEL_FILES, PAGE_FILE))
# What a flag adds to a model, told by one of its files.
FLAGGED = {METRICS_FILE: "--evaluation", f"{ONNX_DIR}/{MEASUREMENTS_FILE}": "--onnx"}


def check_model_dir(model_dir: Path) -> None:
    """Refuse a folder that is not a trained model, naming everything that is wrong with it."""
    if not model_dir.is_dir():
        raise UserError(
            f"'{model_dir}' is not a folder: name the model folder that train_hf.py wrote"
        )
    missing = [name for name in MODEL_FILES if not (model_dir / name).is_file()]
    if missing:
        raise UserError(
            f"'{model_dir}' is not a trained model: it has no {', no '.join(missing)}."
            " Name the folder that train_hf.py wrote (its --output_dir)"
        )
    config = read_json(model_dir / CONFIG_FILE)
    if config.get("architectures") != ["ASTForAudioClassification"]:
        raise UserError(
            f"'{model_dir}' holds {config.get('architectures') or 'no architecture'}; expected an"
            " ASTForAudioClassification, as train_hf.py writes it"
        )
    check_classifier(str(model_dir), config)
    extractor = read_json(model_dir / EXTRACTOR_FILE).get("feature_extractor_type")
    if extractor != "ASTFeatureExtractor":
        raise UserError(
            f"{model_dir}/{EXTRACTOR_FILE} is of a {extractor}; expected ASTFeatureExtractor"
        )
    with open_weights(model_dir / WEIGHTS_FILE):
        pass


def read_evaluation(model_dir: Path, evaluation: Path) -> dict:
    """The metrics of an evaluation folder. Refuses those of another model, or of other genres."""
    path = evaluation / METRICS_FILE
    if not path.is_file():
        raise UserError(
            f"'{evaluation}' is not an evaluation: it has no metrics.json. Make one with"
            f" `python evaluate_model.py {model_dir} --output_dir DIR`"
        )
    metrics = read_json(path)
    check_kinds(path, metrics, METRICS_KINDS)
    measured, published = metrics.get("model_fingerprint"), weights_fingerprint(model_dir)
    if measured != published:
        raise UserError(
            f"'{evaluation}' measured another model: its fingerprint is {str(measured)[:12]}, that"
            f" of '{model_dir}' {published[:12]}. Evaluate the model that you publish"
        )
    measured = (metrics.get("song") or {}).get("per_class", {})
    genres = genres_of(read_json(model_dir / CONFIG_FILE))
    for told, named in zip(measured, genres, strict=False):
        if told != named:
            raise UserError(
                f"'{evaluation}' tells of a genre '{told}' that {CONFIG_FILE} of '{model_dir}'"
                f" calls '{named}': name it there as it was measured, or evaluate it by that name"
            )
    return metrics


def stage_model(
    model_dir: Path,
    evaluation: Path | None,
    staging_dir: Path,
    page: Callable[[Path], str],
    with_onnx: bool = False,
) -> None:
    """Fill `staging_dir` with what belongs on the Hub.

    `page` makes README.md of a folder that holds the rest. Text loses its absolute paths and
    TensorBoard events all but their scalars.
    """

    def fill(folder: Path) -> None:
        _fill(model_dir, evaluation, folder)
        if with_onnx:
            (folder / ONNX_DIR).mkdir()
            for name in ONNX_FILES:
                shutil.copyfile(model_dir / ONNX_DIR / name, folder / ONNX_DIR / name)
        write_page(folder, page(folder))

    fill_aside(staging_dir, STAGED, fill)


def _fill(model_dir: Path, evaluation: Path | None, target: Path) -> None:
    shutil.copyfile(model_dir / WEIGHTS_FILE, target / WEIGHTS_FILE)
    sources = [model_dir / name for name in MODEL_FILES if name.endswith(".json")]
    sources += [model_dir / RECORD_FILE]
    if evaluation:
        sources += [evaluation / METRICS_FILE]
    for folder in filter(None, (model_dir, evaluation)):
        for figure in (folder / f"{name}.png" for name in FIGURES):
            if figure.is_file() and not figure.is_symlink():
                (target / "figures").mkdir(exist_ok=True)
                shutil.copyfile(figure, target / "figures" / figure.name)
    genres = genres_of(read_json(model_dir / CONFIG_FILE))
    for source in filter(Path.is_file, sources):
        (target / source.name).write_text(public_text(source, genres), encoding="utf-8")
    events = (model_dir / "runs").rglob("events.out.tfevents.*")
    for number, path in enumerate(sorted(events, key=lambda path: path.name)):
        # The name's fourth part is the machine's name: only the time stays.
        time = path.name.split(".")[3]
        copy_scalars(path, target / "runs" / f"events.out.tfevents.{time}.{number}")

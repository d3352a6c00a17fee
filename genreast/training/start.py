"""What training starts from: the model with its genres, and the normalisation of what it hears."""

import json
import sys
from pathlib import Path

from datasets import DatasetDict
from transformers import ASTForAudioClassification

from genreast.audio import CLIP_SECONDS
from genreast.data.audiofolder import is_foreign
from genreast.errors import UserError
from genreast.feature_stats import STATS_FILE
from genreast.hub_files import file_of
from genreast.model_window import set_window, window_frames
from genreast.training import model as models
from genreast.training.held_out import seed_as_trained, training_record
from genreast.training.recipe import TrainArguments


def start_model(
    args: TrainArguments, names: list[str], clip_seconds: float
) -> tuple[ASTForAudioClassification, list[str]]:
    """The model to train on clips of a length, and what to tell the user about it.

    Raises UserError where there is no such start, or it cannot be used.
    """
    window = args.window_seconds
    if args.from_scratch:
        model = models.from_scratch(
            args.from_scratch,
            max_length=window_frames(window or min(clip_seconds, CLIP_SECONDS)),
            time_stride=args.time_stride,
            frequency_stride=args.frequency_stride,
            attn_implementation=args.attn_implementation,
        )
        notes = [f"start       random weights, size {args.from_scratch}"]
    else:
        model = load_start(args)
        notes = [f"start       {args.model_name_or_path}"]
        max_length = window_frames(window) if window else None
        models.resize(model, max_length, args.time_stride, args.frequency_stride)
    if models.set_labels(model, names) and not args.from_scratch:
        notes.append(f"            with a new head for {len(names)} genres")
    # A model that has only met clips padded to its window would meet full ones in prediction.
    set_window(model.config, min(window or clip_seconds, clip_seconds))
    if window and window > clip_seconds:
        notes.append(f"window      {window:g} s, and the clips are {clip_seconds:g} s: the rest is")
        notes.append(f"            padding; preparing with --clip_seconds {window:g} fills it")
    if args.freeze == "body":
        models.freeze_body(model)
    if is_foreign(args.dataset):
        notes.append("dataset     taken as it lies: prepare_dataset.py would cut whole songs, and")
        notes.append("            keep copies of a song out of two splits")
    return model, notes


def load_start(args: TrainArguments) -> ASTForAudioClassification:
    """The model that --model_name_or_path names: a Hub id, a model folder, or an original `.pth`.

    Raises UserError where there is none, or it cannot be used.
    """
    source = args.model_name_or_path
    if not is_pth(source):
        if args.pth_labels:
            raise UserError(
                f"--pth_labels goes with an original .pth; '{source}' names its classes itself"
            )
        return models.from_pretrained(source, args.attn_implementation)
    if not Path(source).is_file():
        raise UserError(f"--model_name_or_path '{source}' is no file here; name an original .pth")
    if not args.pth_labels:
        raise UserError(
            f"'{source}' does not name its classes; give them in order, one a line, "
            "in a text file: --pth_labels FILE.txt"
        )
    try:
        labels = Path(args.pth_labels).read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"--pth_labels '{args.pth_labels}': {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--pth_labels '{args.pth_labels}' is not UTF-8 text: {error}") from error
    labels = [label.strip() for label in labels if label.strip()]
    return models.from_pth(Path(source), labels, args.attn_implementation)


def seed_of_validation(args: TrainArguments, dataset: DatasetDict) -> int:
    """The seed that holds a validation split out where the dataset has none: that of the start if
    it was trained on the same clips, for any other would judge it by songs that it has learned."""
    start = args.model_name_or_path
    if "validation" in dataset or args.from_scratch or is_pth(start):
        return args.seed
    seed, remark = None, ""
    try:
        seed = seed_as_trained(dataset, training_record(start))
    except UserError as error:
        remark = f"songs that the start has learned may be held out to judge it: {error}"
    if seed not in (None, args.seed):
        remark = (
            f"'{start}' was trained on the same clips: those that it held out, by --seed {seed}, "
            "are held out again to judge it"
        )
    if remark and args.process_index == 0:
        print(remark, file=sys.stderr)
    return args.seed if seed is None else seed


def is_pth(source: str) -> bool:
    """Whether a start is an original GenreAST file of weights."""
    return source.endswith((".pth", ".pt"))


def normalisation(args: TrainArguments) -> tuple[float, float]:
    """Mean and std of log-mel: the train split's where the dataset states them, else those that
    the start was trained with, else AudioSet's. Raises UserError where that cannot be known."""
    path = file_of(args.dataset, STATS_FILE, "dataset")
    if path:
        try:
            stats = json.loads(path.read_text(encoding="utf-8"))
            mean, std = float(stats["mean"]), float(stats["std"])
            if not std > 0:
                raise ValueError(f"std is {std}")
            return mean, std
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"'{path}' does not give a mean and a std above 0 ({error}); prepare the dataset"
                " again, or delete the file"
            ) from error
    if not args.from_scratch and not is_pth(args.model_name_or_path):
        return models.statistics_of(args.model_name_or_path)
    return models.AUDIOSET_MEAN, models.AUDIOSET_STD

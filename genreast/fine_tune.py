"""One training run, from a dataset and a start to a model folder ready for the Hub."""

import fcntl
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
import yaml
from datasets import DatasetDict
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, set_seed
from transformers.utils import logging as transformers_logging

from genreast import model as models
from genreast.audio import CLIP_SECONDS
from genreast.audiofolder import fingerprint, label_names, load_splits
from genreast.batches import ClipDataset
from genreast.config import own_settings
from genreast.errors import UserError
from genreast.features import STATS_FILE
from genreast.imbalance import class_counts
from genreast.progress import ProgressTable, learning_curves, summary
from genreast.recipe import TrainArguments
from genreast.training import GenreTrainer

MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "torchcodec", "huggingface_hub")


def fine_tune(args: TrainArguments) -> None:
    """Train as the settings say and save the model folder. All processes call this."""
    quiet_libraries()
    with output_folder(args):
        set_seed(args.seed)
        splits = load_splits(args.dataset)
        check_splits(splits, args.dataset)
        train_clips, eval_clips = ClipDataset(splits["train"]), ClipDataset(splits["validation"])
        clip_seconds = args.window_seconds or train_clips.longest_seconds()
        model, notes = start_model(args, label_names(splits), clip_seconds)
        extractor = models.feature_extractor(model.config, *dataset_statistics(args.dataset))
        callbacks = [table := ProgressTable(), *early_stopping(args)]
        trainer = GenreTrainer(model, args, train_clips, eval_clips, extractor, callbacks=callbacks)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        if trainer.is_world_process_zero():
            print("\n".join([*notes, summary(trainer)]), file=sys.stderr)
        checkpoint = checkpoint_to_resume(args)
        with plain_faults(args):
            result = trainer.train(resume_from_checkpoint=checkpoint)
        history = list(trainer.state.log_history)
        metrics = trainer.evaluate() if args.load_best_model_at_end else table.rows[-1]
        if trainer.is_world_process_zero():
            save(trainer, args, splits, {**result.metrics, **metrics}, history)
            report(trainer, args, metrics)


def quiet_libraries() -> None:
    """Keep the libraries' own notices out of a run's output; ours say what matters."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)


@contextmanager
def output_folder(args: TrainArguments):
    """Hold the output folder for this run alone; refuse one that holds a finished model."""
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if args.process_index > 0:
        yield
        return
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another run is writing to '{folder}'; wait for it, or choose another --output_dir"
            ) from error
        if (folder / "train_metrics.json").is_file():
            raise UserError(
                f"'{folder}' holds a finished model; choose another --output_dir, or move it away"
            )
        if any(folder.glob("checkpoint-*")) and not args.resume_from_checkpoint:
            raise UserError(
                f"'{folder}' holds checkpoints of an unfinished run; go on with "
                "--resume_from_checkpoint last, or choose another --output_dir"
            )
        try:
            yield
        finally:
            (folder / ".lock").unlink(missing_ok=True)


def check_splits(splits: DatasetDict, dataset: str) -> None:
    """Refuse a dataset that cannot be trained on, before anything is loaded."""
    for name in ("train", "validation"):
        if name not in splits or not len(splits[name]):
            raise UserError(
                f"dataset '{dataset}' has no clips in a split named '{name}'; it has "
                f"{', '.join(f'{key} ({len(value)})' for key, value in splits.items())}"
            )
    names = label_names(splits)
    present = set(splits["train"]["label"])
    missing = [name for label, name in enumerate(names) if label not in present]
    if missing:
        raise UserError(
            f"no clip of {', '.join(missing)} in the train split of '{dataset}'; add songs of it, "
            "or leave the genre out, and prepare the dataset again"
        )


def start_model(args: TrainArguments, names: list[str], clip_seconds: float):
    """The model to train on clips of a length, and what to tell the user about it."""
    if args.from_scratch:
        model = models.from_scratch(
            args.from_scratch,
            max_length=models.window_frames(min(clip_seconds, args.window_seconds or CLIP_SECONDS)),
            time_stride=args.time_stride,
            frequency_stride=args.frequency_stride,
            attn_implementation=args.attn_implementation,
        )
        notes = [f"start       random weights, size {args.from_scratch}"]
    else:
        model = models.from_pretrained(args.model_name_or_path, args.attn_implementation)
        notes = [f"start       {args.model_name_or_path}"]
        max_length = models.window_frames(args.window_seconds) if args.window_seconds else None
        models.resize(model, max_length, args.time_stride, args.frequency_stride)
    if models.set_labels(model, names) and not args.from_scratch:
        notes.append(f"            with a new head for {len(names)} genres")
    models.set_window(model.config, clip_seconds)
    if args.freeze == "body":
        models.freeze_body(model)
    return model, notes


def dataset_statistics(dataset: str) -> tuple[float, float]:
    """Mean and std of the train split's log-mel, or AudioSet's where the dataset has none."""
    path = Path(dataset) / STATS_FILE
    if not path.is_file():
        return models.AUDIOSET_MEAN, models.AUDIOSET_STD
    stats = json.loads(path.read_text())
    return stats["mean"], stats["std"]


def early_stopping(args: TrainArguments) -> list[EarlyStoppingCallback]:
    """The callback that ends training when validation no longer gains."""
    patience = args.early_stopping_patience
    return [EarlyStoppingCallback(early_stopping_patience=patience)] if patience else []


def checkpoint_to_resume(args: TrainArguments) -> str | None:
    """The checkpoint asked for; `last` is the newest whole one, None if there is none yet."""
    wanted = args.resume_from_checkpoint
    if not wanted or wanted == "false":
        return None
    if wanted not in ("last", "true"):
        if not is_whole(Path(wanted)):
            raise UserError(
                f"checkpoint '{wanted}' is missing or cut short; use --resume_from_checkpoint last"
            )
        return wanted
    found = sorted(
        Path(args.output_dir).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])
    )
    whole = [path for path in found if is_whole(path)]
    for path in found:
        if path not in whole and args.process_index == 0:
            print(f"checkpoint '{path}' is cut short and passed over", file=sys.stderr)
    return str(whole[-1]) if whole else None


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the Trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return all((checkpoint / name).is_file() for name in ("model.safetensors", "optimizer.pt"))


@contextmanager
def plain_faults(args: TrainArguments):
    """Turn the faults a user can mend, of memory and of disk, into their remedies."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(
            f"a batch of {args.per_device_train_batch_size} clips does not fit in memory; halve "
            "--per_device_train_batch_size and double --gradient_accumulation_steps (the result is "
            "the same), or set --gradient_checkpointing true"
        ) from error
    except (OSError, RuntimeError) as error:
        if "No space left" in str(error) or "disk" in str(error).lower():
            raise UserError(
                f"the disk of '{args.output_dir}' is full; make room, then go on from the last "
                "whole checkpoint with --resume_from_checkpoint last"
            ) from error
        raise


def save(
    trainer: GenreTrainer,
    args: TrainArguments,
    splits: DatasetDict,
    metrics: dict[str, float],
    history: list[dict],
) -> None:
    """Write the model folder: each file aside first, `train_metrics.json` as the last."""
    folder = Path(args.output_dir)
    aside = folder / ".saving"
    shutil.rmtree(aside, ignore_errors=True)
    with plain_faults(args):
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(aside)
        trainer.processing_class.save_pretrained(aside)
        write_yaml(training_config(args, trainer, splits), aside / "training_config.yaml")
        learning_curves(history, aside / "learning_curves.png")
        epochs = [entry for entry in history if "eval_loss" in entry]
        content = {"best": metrics, "history": epochs, "steps": trainer.state.global_step}
        (aside / "train_metrics.json").write_text(json.dumps(content, indent=2) + "\n")
    names = sorted(path.name for path in aside.iterdir() if path.name != "train_metrics.json")
    for name in [*names, "train_metrics.json"]:
        os.replace(aside / name, folder / name)
    aside.rmdir()


def training_config(args: TrainArguments, trainer: GenreTrainer, splits: DatasetDict) -> dict:
    """What made the model: settings, data, versions. Nothing in it names this machine or user."""
    names = trainer.genres
    songs = {
        split: {
            "clips": named(class_counts(rows["label"], rows["song_id"], len(names)), names),
            "songs": named(class_counts(rows["label"], rows["song_id"], len(names), "song"), names),
        }
        for split, rows in splits.items()
    }
    return {
        "command": " ".join(portable(word) for word in sys.argv),
        "settings": {key: portable(value) for key, value in own_settings(args).items()},
        "base_model": None if args.from_scratch else portable(args.model_name_or_path),
        "dataset": {
            "name": portable(args.dataset),
            "fingerprint": fingerprint(args.dataset),
            "labels": names,
            "splits": songs,
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "device": trainer.args.device.type,
        "processes": args.world_size,
        "git_commit": git_commit(),
    }


def named(counts, names: list[str]) -> dict[str, int]:
    """Counts by label name."""
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def portable(value):
    """A setting as it may be published: a path outside the working folder keeps its name alone."""
    if isinstance(value, str) and os.path.isabs(value):
        path = Path(value)
        inside = path.is_relative_to(Path.cwd())
        return str(path.relative_to(Path.cwd())) if inside else path.name
    return value


def git_commit() -> str | None:
    """The commit of this project's checkout, if it is one."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None


def write_yaml(content: dict, path: Path) -> None:
    """A readable YAML file, keys in the order given."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def report(trainer: GenreTrainer, args: TrainArguments, metrics: dict[str, float]) -> None:
    """The best checkpoint's metrics and what to do next, on stdout."""
    print(
        f"{args.output_dir}: validation song macro-F1 {metrics['eval_song_macro_f1']:.3f}, "
        f"song accuracy {metrics['eval_song_accuracy']:.3f}, "
        f"clip accuracy {metrics['eval_clip_accuracy']:.3f}"
    )
    print(f"next: python evaluate_model.py {args.output_dir} --dataset {args.dataset} --split test")

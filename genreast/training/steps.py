"""One training run, from a dataset and a start to a model folder ready for the Hub."""

import logging
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict
from transformers import ASTForAudioClassification, PrinterCallback, ProgressCallback, set_seed
from transformers.utils import logging as transformers_logging

from genreast.data.audiofolder import dataset_fingerprint, load_splits, preparation
from genreast.data.columns import label_names
from genreast.data.dataset_refusals import dataset_faults
from genreast.errors import UserError
from genreast.precision import remarks
from genreast.training import model as models
from genreast.training.batches import ClipDataset
from genreast.training.checkpoints import checkpoints_in, standing
from genreast.training.faults import plain_faults
from genreast.training.held_out import with_validation
from genreast.training.loading import share_of_cores
from genreast.training.model_folder import save, training_config
from genreast.training.probe import HeardAnew, ProbeTrainer, can_probe
from genreast.training.progress import ProgressTable, summary
from genreast.training.recipe import LAUNCHED_PRECISION, TrainArguments
from genreast.training.resuming import Patience, ResumeSettings
from genreast.training.run_folder import check_shared, checkpoint_to_resume, is_whole, output_folder
from genreast.training.shards import read_shards, with_sound
from genreast.training.start import normalisation, seed_of_validation, start_model
from genreast.training.streaming import StreamedClips
from genreast.training.trainer import GenreTrainer


def fine_tune(args: TrainArguments) -> None:
    """Train as the settings say and save the model folder. All processes call this."""
    quiet_libraries()
    use_all_cores()
    use_one_gpu(args)
    with output_folder(args), plain_faults(args):
        check_shared(args)
        set_seed(args.seed)
        about_dataset, splits, train_clips, eval_clips = read_dataset(args)
        check_clips(args, train_clips, eval_clips)
        clip_seconds = train_clips.longest_seconds()
        model, notes = start_model(args, label_names(splits), clip_seconds)
        extractor = models.feature_extractor(model.config, *normalisation(args))
        settings = ResumeSettings(about_dataset)
        callbacks = [ProgressTable(), settings]
        if args.early_stopping_patience:
            callbacks.append(Patience(args.early_stopping_patience))
        trainer = make_trainer(model, args, train_clips, eval_clips, extractor, callbacks=callbacks)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        if trainer.is_world_process_zero():
            notes += [summary(trainer), *remarks(args.bf16, args.device)]
            print("\n".join(notes), file=sys.stderr)
        checkpoint = checkpoint_to_resume(args, model.config, about_dataset)
        settings.go_on_from(checkpoint, args)
        result = trainer.train(resume_from_checkpoint=checkpoint)
        history = list(trainer.state.log_history)
        metrics, averaged = best_metrics(trainer, args)
        weights = trainer.gathered_weights()
        if trainer.is_world_process_zero():
            record = training_config(args, trainer, splits, about_dataset, settings.before)
            record["averaged"] = averaged
            metrics = {**result.metrics, **metrics}
            save(trainer, Path(args.output_dir), record, metrics, history, weights)
    if trainer.is_world_process_zero():  # the model stands, whatever becomes of what is said
        report(args, metrics, "test" if "test" in splits else "validation")


def read_dataset(
    args: TrainArguments,
) -> tuple[dict[str, Any], DatasetDict, ClipDataset | StreamedClips, ClipDataset]:
    """What is recorded of the dataset, its splits with one for validation among them, and the clips
    of the two used."""
    which = (args.audio_column, args.label_column, args.song_column, args.dataset_config)
    if not args.streaming:
        dataset = load_splits(args.dataset, *which)
        seed = seed_of_validation(args, dataset)
        splits = with_validation(dataset, seed)
        check_splits(splits, args.dataset)
        clips = (ClipDataset(splits[name]) for name in ("train", "validation"))
        return _about(args.dataset, dataset, splits, seed), splits, *clips
    dataset, groups = read_shards(args.dataset, *which)
    if "validation" not in dataset:
        raise UserError(
            f"'{args.dataset}' has no split named 'validation', which --streaming needs: make one "
            "with prepare_dataset.py --format parquet --val_fraction 0.1, or leave out --streaming"
        )
    check_splits(dataset, args.dataset)
    with dataset_faults(args.dataset):
        validation = with_sound(dataset["validation"], groups["validation"])
    clips = StreamedClips(dataset["train"], groups["train"]), ClipDataset(validation)
    return _about(args.dataset, dataset, dataset, args.seed), dataset, *clips


def _about(name: str, dataset: DatasetDict, splits: DatasetDict, seed: int) -> dict[str, Any]:
    return {
        "fingerprint": dataset_fingerprint(dataset),
        "fingerprint_as_trained": dataset_fingerprint(splits),
        "held_out_by_seed": None if "validation" in dataset else seed,
        "preparation": preparation(name),
    }


def make_trainer(
    model: ASTForAudioClassification, args: TrainArguments, *parts, **options
) -> GenreTrainer:
    """A Trainer that hears each clip once, for a probe, or anew in every epoch."""
    if can_probe(args):
        try:
            return ProbeTrainer(model, args, *parts, **options)
        except HeardAnew as error:
            if args.process_index == 0:
                print(f"{error}: every epoch hears the clips anew", file=sys.stderr)
    return GenreTrainer(model, args, *parts, **options)


def quiet_libraries() -> None:
    """Keep the libraries' own notices out of a run's output; ours say what matters."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    # Several processes warn of a batch of one clip: the special tokens' gradients, [1, 1, width],
    # are slices whose strides differ along sides of length one alone, which costs nothing.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")


def use_all_cores() -> None:
    """Share the host's cores among its processes: `accelerate launch` leaves each one thread."""
    if LAUNCHED_PRECISION in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(max(1, share_of_cores()))


def use_one_gpu(args: TrainArguments) -> None:
    """Without a launcher one GPU of a host's: the Trainer would spread the batch over all of them
    by DataParallel, which torch advises against and our losses are not made for."""
    if args.n_gpu > 1:
        config = "--config_file configs/accelerate/many_gpus.yaml"
        command = f"python -m genreast.launch {config} --num_processes {args.n_gpu}"
        print(
            f"one of {args.n_gpu} GPUs is used; all of them: {command} {shlex.join(sys.argv)}",
            file=sys.stderr,
        )
        args._n_gpu = 1


def check_splits(splits: DatasetDict, dataset: str) -> None:
    """Refuse a dataset that cannot be trained on, before anything is loaded."""
    for name, remedy in (
        ("train", "prepare it again, with more songs or smaller fractions for the other splits"),
        ("validation", "it takes a genre of two songs or more to hold one out: add songs"),
    ):
        if name not in splits or not len(splits[name]):
            raise UserError(
                f"dataset '{dataset}' has no clips in a split named '{name}', but "
                f"{', '.join(f'{key} ({len(value)})' for key, value in splits.items())}; {remedy}"
            )
    names = label_names(splits)
    if len(names) < 2:
        raise UserError(
            f"dataset '{dataset}' has one genre, {names[0]}; telling genres apart takes two or more"
        )
    present = set(splits["train"]["label"])
    missing = [name for label, name in enumerate(names) if label not in present]
    if missing:
        raise UserError(
            f"no clip of {', '.join(missing)} in the train split of '{dataset}'; add songs of it, "
            "or leave the genre out, and prepare the dataset again"
        )


def check_clips(
    args: TrainArguments, train_clips: ClipDataset | StreamedClips, eval_clips: ClipDataset
) -> None:
    """Refuse settings that ask for more than the clips can give."""
    batch = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and len(train_clips) < batch:
        raise UserError(
            f"--dataloader_drop_last drops all {len(train_clips)} clips of the train split: a "
            f"batch takes {batch}; lower --per_device_train_batch_size, or leave it out"
        )
    dealt = args.accelerator_config
    otherwise = dealt.split_batches or dealt.dispatch_batches or not dealt.even_batches
    if args.world_size > 1 and otherwise:
        raise UserError(
            "--accelerator_config changes split_batches, dispatch_batches or even_batches; leave "
            "them as they are: processes would wait for one another in vain, and every clip is "
            "heard once anyway"
        )
    metric = args.metric_for_best_model
    if metric.endswith("cohen_kappa") and len(set(eval_clips.labels)) < 2:
        raise UserError(
            f"--metric_for_best_model is '{metric}', which needs two genres: the validation split "
            "has clips of one; choose another, such as song_macro_f1"
        )


def best_metrics(
    trainer: GenreTrainer, args: TrainArguments
) -> tuple[dict[str, float], dict[str, int | bool] | None]:
    """Validation metrics of what will be published; averaged weights stay if they are better.

    Their epoch is that of the checkpoint, of an average the last. Of an average it is also told how
    many checkpoints it is of, and whether it was kept.
    """
    metrics, state = trainer.evaluate(), trainer.state
    if args.load_best_model_at_end and state.best_model_checkpoint:
        steps = {entry["step"]: entry["epoch"] for entry in state.log_history}
        metrics["epoch"] = steps[state.best_global_step]
    checkpoints = checkpoints_in(Path(args.output_dir))
    last = [path for path in checkpoints if is_whole(path)][-args.average_checkpoints :]
    if args.average_checkpoints < 2 or len(last) < 2:
        if args.average_checkpoints and trainer.is_world_process_zero():
            print("fewer than two checkpoints are kept: nothing is averaged", file=sys.stderr)
        return metrics, None
    before = {name: weights.clone() for name, weights in trainer.model.state_dict().items()}
    models.average_weights(trainer.model, last)
    averaged = trainer.evaluate()
    kept = standing(averaged, args) > standing(metrics, args)
    if not kept:
        trainer.model.load_state_dict(before)
    if trainer.is_world_process_zero():
        verdict = "kept" if kept else "not kept"
        name = args.metric_for_best_model
        print(
            f"mean of the last {len(last)} checkpoints: {name} {averaged[f'eval_{name}']:.3f} "
            f"against {metrics[f'eval_{name}']:.3f}, {verdict}",
            file=sys.stderr,
        )
    return averaged if kept else metrics, {"checkpoints": len(last), "kept": kept}


def report(args: TrainArguments, metrics: dict[str, float], split: str) -> None:
    """The best checkpoint's metrics and what to do next, on stdout."""
    print(
        f"{args.output_dir}: validation song macro-F1 {metrics['eval_song_macro_f1']:.3f}, "
        f"song accuracy {metrics['eval_song_accuracy']:.3f}, "
        f"clip accuracy {metrics['eval_clip_accuracy']:.3f}"
    )
    words = ["python", "evaluate_model.py", args.output_dir, "--dataset", args.dataset]
    words += ["--split", split]
    for name in ("dataset_config", "audio_column", "label_column", "song_column"):
        words += [f"--{name}", getattr(args, name)] if name in args.given else []
    print(f"next: {shlex.join(words)}")

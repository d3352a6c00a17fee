"""Settings of training: this project's own, on top of every option of the Trainer.

`configs/base.yaml` writes the defaults out with their reasons, and a test holds the two equal.
"""

import os
from dataclasses import dataclass
from functools import partial

import torch
from transformers import TrainingArguments

from genreast.config import given, option
from genreast.errors import UserError
from genreast.precision import multiplies_bfloat16
from genreast.training.recipe_checks import UNLISTED, check, lower_is_better
from genreast.training.rendezvous import rendezvous

AUDIOSET_AST = "MIT/ast-finetuned-audioset-10-10-0.4593"
BY_SCORE = ("reduce_lr_on_plateau", "greedy")  # schedules that take a metric for a loss
LAUNCHED_PRECISION = "ACCELERATE_MIXED_PRECISION"  # how accelerate launch passes its own on


_model = partial(option, group="model")
_data = partial(option, group="data")
_training = partial(option, group="training")
_optimisation = partial(option, group="optimisation")
_imbalance = partial(option, group="imbalanced genres")
_augment = partial(option, group="augmentation (training only, on the device)")
_evaluation = partial(option, group="evaluation and checkpoints")
_logging = partial(option, group="logging")


@dataclass
class TrainArguments(TrainingArguments):
    """Settings of `train_hf.py`."""

    HIDDEN = UNLISTED
    do_train: bool = True
    remove_unused_columns: bool = False

    # Each default with its reason stands in configs/base.yaml, in this order.
    model_name_or_path: str = _model(
        AUDIOSET_AST,
        "model to start from: model folder, Hub id (USER/NAME[@REVISION]) or original .pth",
        instead_of="from_scratch",
    )
    from_scratch: str | None = _model(
        None, "start from random weights at a named size: tiny, small or base"
    )
    pth_labels: str | None = _model(None, "text file with the .pth file's label names, one a line")
    window_seconds: float | None = _model(
        None, "audio the model hears at once, in seconds (default: what it was made for)"
    )
    time_stride: int | None = _model(None, "frames between patches (default: the model's)")
    frequency_stride: int | None = _model(None, "mel bins between patches (default: the model's)")
    attn_implementation: str = _model("sdpa", "attention: eager, sdpa or flash_attention_2")
    freeze: str = _model("none", "what stays as it is: none, or body (train the head alone)")

    dataset: str = _data("data/processed", "dataset folder or Hub id, USER/NAME[@REVISION]")
    dataset_config: str | None = _data(
        None, "which configuration, of a dataset that comes in several"
    )
    audio_column: str = _data("audio", "column that holds the sound")
    label_column: str = _data("label", "column that holds the genre")
    song_column: str = _data("song_id", "column that names the song; absent: each row is a song")
    streaming: bool = _data(
        False, "read the train split from Parquet shards as training goes, without a copy on disk"
    )
    shuffle_buffer: int = _data(
        1000, "with --streaming: most clips a process holds, encoded, to draw the next one from"
    )
    dataloader_num_workers: int | None = _data(
        None,
        "processes that decode ahead of the model (default: for a GPU its share of the cores less"
        " one, at most 8; for a CPU none)",
    )

    output_dir: str = _training("models/genreast", "folder the model is written to")
    resume_from_checkpoint: str | None = _training(
        None, "go on from a checkpoint: last (of --output_dir), or a checkpoint's folder"
    )
    num_train_epochs: float = _training(10.0, "passes over the train split")
    max_steps: int = _training(
        -1, "steps in all, in place of --num_train_epochs (default: as many as those take)"
    )
    per_device_train_batch_size: int = _training(8, "clips a forward pass and process")
    gradient_accumulation_steps: int = _training(1, "forward passes a step")
    bf16: bool | None = _training(None, "bfloat16 autocast (default: where the device has it)")
    seed: int = _training(0, "seed of everything random in training")

    learning_rate: float = _optimisation(5e-5, "peak learning rate, the head's")
    layer_decay: float = _optimisation(
        0.75, "learning rate of a layer against the one above it; 1 treats all alike"
    )
    lr_scheduler_type: str = _optimisation(
        "cosine", "learning rate's way down: cosine, linear, constant_with_warmup, …"
    )
    warmup_steps: float = _optimisation(0.1, "steps of warm-up; below 1 their share of all steps")
    weight_decay: float = _optimisation(0.05, "AdamW's decay of matrices")
    label_smoothing_factor: float = _optimisation(
        0.1, "share of each label that is spread over all genres"
    )

    sampling_exponent: float = _imbalance(
        0.0, "0 draws genres by their share (--count_by), 1 draws every genre equally often"
    )
    count_by: str = _imbalance("clip", "what a genre's share is counted in: clip or song")
    class_weights: str = _imbalance(
        "none", "weights of the loss, to what sampling draws: none, inverse or effective"
    )
    effective_beta: float = _imbalance(0.999, "beta of effective-number weights (Cui 2019)")
    loss: str = _imbalance("cross_entropy", "cross_entropy, focal or logit_adjusted")
    focal_gamma: float = _imbalance(2.0, "gamma of the focal loss (Lin 2017)")
    logit_adjustment: float = _imbalance(1.0, "tau of the logit-adjusted loss (Menon 2021)")

    mask_time_frames: int = _augment(96, "longest SpecAugment mask in time, frames of 10 ms")
    mask_mel_bins: int = _augment(24, "widest SpecAugment mask in frequency, mel bins")
    mixup_alpha: float = _augment(0.3, "Beta parameter of mixup; 0 turns it off")
    mixup_probability: float = _augment(0.5, "share of batches that are mixed")
    time_roll: bool = _augment(True, "roll each clip by a random time")
    gain_db: float = _augment(6.0, "largest random gain, up or down, in dB")
    patchout: float = _augment(0.0, "share of patches left out at random (Koutini 2022)")
    patchout_kind: str = _augment(
        "unstructured", "unstructured (single patches), time (columns) or frequency (rows)"
    )

    eval_strategy: str = _evaluation("epoch", "when to evaluate: no, epoch or steps")
    eval_steps: float | None = _evaluation(
        None, "steps between evaluations; below 1 their share of all (default: --logging_steps)"
    )
    per_device_eval_batch_size: int = _evaluation(
        16, "clips a forward pass and process, in evaluation"
    )
    save_strategy: str = _evaluation("epoch", "when to save a checkpoint: no, epoch or steps")
    save_steps: float = _evaluation(500, "steps between checkpoints; below 1 their share of all")
    save_total_limit: int | None = _evaluation(2, "checkpoints kept, the best one of them")
    load_best_model_at_end: bool = _evaluation(True, "publish the best checkpoint, not the last")
    metric_for_best_model: str = _evaluation("song_macro_f1", "what makes a checkpoint the best")
    greater_is_better: bool | None = _evaluation(
        None, "whether a larger metric is better (default: by its name)"
    )
    early_stopping_patience: int = _evaluation(
        0, "stop after N evaluations without a better --metric_for_best_model; 0 never stops"
    )
    average_checkpoints: int = _evaluation(
        0, "average the weights of the last N checkpoints, kept if better on validation"
    )

    logging_steps: float = _logging(
        10, "steps between two log lines; below 1 their share of all steps"
    )
    logging_nan_inf_filter: bool = _logging(
        False, "hide NaN losses from the log; ours stops at one"
    )
    disable_tqdm: bool = _logging(False, "show no bar; the table of epochs stays")
    report_to: list[str] | None = _logging(  # noqa: RUF009
        ["tensorboard"], "loggers: tensorboard, trackio, wandb or none"
    )

    def __post_init__(self):
        self.given = given(self)  # before the Trainer fills in what follows from it
        # The Trainer logs each metric as eval_NAME, and takes it by either name.
        self.metric_for_best_model = (self.metric_for_best_model or "loss").removeprefix("eval_")
        if self.greater_is_better is None:  # the Trainer would take ECE for a gain
            self.greater_is_better = not lower_is_better(self.metric_for_best_model)
        check(self)
        if (self.resume_from_checkpoint or "").lower() in ("", "false", "no", "none"):
            self.resume_from_checkpoint = None  # once for all who ask whether it was given
        if self.average_checkpoints and self.save_total_limit is not None:
            # The best is one of those kept, and need not be one of the last.
            self.save_total_limit = max(self.save_total_limit, self.average_checkpoints + 1)
        # Said outright, for the Trainer refuses bfloat16 on a CPU it was not told to use.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        self._choose_precision()
        # The Trainer takes a number alone. What a GPU is given follows from the clips it hears.
        self.workers_undecided = self.dataloader_num_workers is None
        self.dataloader_num_workers = self.dataloader_num_workers or 0
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False  # none is, and looking costs time in each step
        if "log_level_replica" not in self.given:
            self.log_level_replica = "passive"  # as the first process's: the others would say more
        with rendezvous():
            super().__post_init__()
        if self.lr_scheduler_type in BY_SCORE:
            mode = "max" if self.greater_is_better else "min"
            self.lr_scheduler_kwargs = {"mode": mode, **(self.lr_scheduler_kwargs or {})}
        # The Trainer would take the launcher's, and run otherwise than is told and recorded.
        self.mixed_precision = "fp16" if self.fp16 else "bf16" if self.bf16 else "no"

    def _choose_precision(self) -> None:
        """A flag's, else the launcher's, else bfloat16 where the device has it.

        On a CPU accelerate takes float16 and trains in float32.
        """
        launched = os.environ.get(LAUNCHED_PRECISION, "no")
        if launched not in ("no", "fp16", "bf16"):
            raise UserError(
                f"accelerate's mixed_precision is '{launched}'; expected no, fp16 or bf16"
            )
        if self.fp16 and self.use_cpu:
            raise UserError("--fp16 is true, but a CPU trains in bfloat16 or float32; leave it out")
        if self.bf16 is None:
            device = "cpu" if self.use_cpu else torch.accelerator.current_accelerator().type
            self.fp16 = self.fp16 or (launched == "fp16" and not self.use_cpu)
            able = launched == "bf16" or multiplies_bfloat16(torch.device(device))
            self.bf16 = able and not self.fp16

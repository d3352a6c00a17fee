"""What a checkpoint was made with: what a resumed run must share with it, and what it changes."""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import ASTConfig, EarlyStoppingCallback, TrainerCallback

from genreast.config import all_settings
from genreast.errors import UserError
from genreast.training.checkpoints import scores_at
from genreast.training.held_out import RESUME_FILE, saved_settings
from genreast.training.recipe import TrainArguments

SHAPE = ("hidden_size", "num_hidden_layers", "max_length", "time_stride", "frequency_stride")
LAST_FILE = "trainer_state.json"  # that the Trainer writes of a checkpoint
UNTOLD = (  # where a run lies and what is seen of it; of the dataset its content is compared
    *("output_dir", "resume_from_checkpoint", "dataset", "dataloader_num_workers", "local_rank"),
    *("disable_tqdm", "report_to", "run_name", "log_level", "log_level_replica"),
)


def check_same_model(checkpoint: Path, config: ASTConfig) -> None:
    """Refuse a checkpoint of other genres or another shape than the model to be trained."""
    saved = ASTConfig.from_pretrained(checkpoint)
    for what, one, other in (
        ("genres", saved.id2label.values(), config.id2label.values()),
        *((key, [getattr(saved, key)], [getattr(config, key)]) for key in SHAPE),
    ):
        if list(one) != list(other):
            raise UserError(
                f"checkpoint '{checkpoint}' is of another model ({what}: {_listed(one)}; now: "
                f"{_listed(other)}); resume with the dataset and model it was made with"
            )


def resume_settings(args: TrainArguments, data: dict) -> dict[str, Any]:
    """What decides whether a checkpoint can be gone on from, and what that means."""
    settings = {
        f"--{name}": value for name, value in all_settings(args).items() if name not in UNTOLD
    }
    # Of the splits, where training made the one for validation itself.
    trained = data["fingerprint_as_trained"]
    held_out = trained if trained != data["fingerprint"] else ""
    return {**settings, "held out": held_out, **_deal(args, data)}


def _deal(args: TrainArguments, data: dict) -> dict[str, str | int | float]:
    """What decides which clips an epoch has yet to hear."""
    deal = {
        "dataset": data["fingerprint"][:8],
        "processes": args.world_size,
        "--streaming": args.streaming,
        "--seed": args.seed,
        "--sampling_exponent": args.sampling_exponent,
        "--count_by": args.count_by,
        "--per_device_train_batch_size": args.per_device_train_batch_size,
        "--gradient_accumulation_steps": args.gradient_accumulation_steps,
    }
    if args.streaming:
        deal["--dataloader_num_workers"] = max(1, args.dataloader_num_workers)
        deal["--shuffle_buffer"] = args.shuffle_buffer
    return deal


class ResumeSettings(TrainerCallback):
    """Leaves in each checkpoint the settings that a resumed run is held to.

    `before` are those that resumed runs have changed: what they were, by the step of the change.
    """

    def __init__(self, data: dict):
        self.data = data
        self.before: dict[int, dict[str, Any]] = {}
        self.folder: Path | None = None  # of the run that is gone on with

    def go_on_from(self, checkpoint: str | None, args: TrainArguments) -> None:
        """Take over what earlier runs have changed, and add what this one does."""
        self.folder = Path(checkpoint).parent if checkpoint else None
        saved = saved_settings(checkpoint) if checkpoint else None
        if saved is None:
            return
        self.before = {int(step): values for step, values in saved.get("before", {}).items()}
        changes = changed(saved, resume_settings(args, self.data))
        if changes:
            step = json.loads((Path(checkpoint) / LAST_FILE).read_text())["global_step"]
            self.before[step] = {key.removeprefix("--"): saved[key] for key in changes}

    def on_train_begin(self, args, state, control, **kwargs):
        """Find the best checkpoint where it lies now, and its worth by the metric of now: the
        Trainer knows the place and the metric of that time."""
        if self.folder is None:
            return
        state.best_metric = best_by(args.metric_for_best_model, vars(state))
        best = self.folder / f"checkpoint-{state.best_global_step}"
        if best.is_dir():
            state.best_model_checkpoint = str(best)

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            content = {
                **resume_settings(args, self.data),
                "held out by seed": self.data["held_out_by_seed"],
                "before": self.before,
            }
            (checkpoint / RESUME_FILE).write_text(json.dumps(content))


class Patience(EarlyStoppingCallback):
    """Early stopping that goes on counting where the checkpoint of a resumed run left off."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        # A checkpoint of a run without patience has no count.
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.early_stopping_patience_counter = saved["attributes"][
            "early_stopping_patience_counter"
        ]
        spent = self.early_stopping_patience_counter >= self.early_stopping_patience
        control.should_training_stop = spent


def best_by(metric: str, state: dict[str, Any]) -> float | None:
    """The best checkpoint's value of a metric, whichever chose it, from a Trainer's state."""
    scores = scores_at(state["best_global_step"], state["log_history"])
    return scores.get(f"eval_{metric}", state["best_metric"])


def changed(saved: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """What differs between the settings of a checkpoint and a run's, in words, by its name."""
    return {
        key: f"{key} {saved[key]}, now {now[key]}"
        for key in now
        if saved.get(key, now[key]) != now[key]
    }


def check_same_settings(checkpoint: Path, args: TrainArguments, data: dict) -> None:
    """Refuse another optimizer than a checkpoint's, and a validation split that it has learned;
    say what another deal of the clips means, and which other settings are others.
    """
    saved = saved_settings(checkpoint)
    if saved is None:
        return
    now = resume_settings(args, data)
    if saved["--optim"] != now["--optim"]:
        raise UserError(
            f"checkpoint '{checkpoint}' holds the state of --optim {saved['--optim']}, which "
            f"{now['--optim']} cannot take; resume with --optim {saved['--optim']}"
        )
    changes = changed(saved, now)
    if "held out" in changes:
        causes = [changes[key] for key in ("--seed", "dataset") if key in changes]
        raise UserError(
            f"checkpoint '{checkpoint}' was trained on clips that would now be held out to judge "
            f"it ({'; '.join(causes) or 'another split'}); resume with the --seed and the dataset "
            "it was made with"
        )
    if args.process_index > 0:
        return
    dealt = _deal(args, data)
    deal, others = (
        "; ".join(words for key, words in changes.items() if (key in dealt) == of_deal)
        for of_deal in (True, False)
    )
    if deal:
        print(
            f"'{checkpoint}' was made with other settings ({deal}): the epoch it is in "
            "may hear some clips twice and others not, the epochs after it are whole",
            file=sys.stderr,
        )
    if others:
        print(f"'{checkpoint}' was made with {others}: training goes on as now", file=sys.stderr)


def _listed(values) -> str:
    return ", ".join(map(str, values))

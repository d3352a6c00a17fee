"""The checkpoints of training: what is saved can be gone on from, and the best of them stays."""

import shutil
from pathlib import Path

import torch
from transformers import Trainer
from transformers.trainer_utils import SaveStrategy, sort_checkpoints

from genreast.errors import UserError
from genreast.pretrained import holds_weights, share_weights
from genreast.training.model import load_weights
from genreast.training.recipe import TrainArguments

TOLD = ("initial_lr", "weight_decay", "betas", "eps")  # what settings say of an optimizer's groups


class ResumableTrainer(Trainer):
    """The Trainer, whose checkpoints hold sound weights and are put back whole."""

    def _diverged(self, what: str) -> UserError:
        """What to do where a loss, a weight or an answer is infinite or no number (NaN)."""
        if not self.state.global_step:
            return UserError(
                f"{what}; nothing is learned yet: look at the start's weights and the augmentation"
            )
        return UserError(
            f"{what}; lower --learning_rate (now {self.args.learning_rate:g}), or train in float32 "
            "with --bf16 false. Checkpoints saved before are unharmed"
        )

    def _save_checkpoint(self, model, trial):
        """The Trainer's own, refused where a weight is infinite or NaN: training could not go on
        from what is saved then."""
        norm = torch.nn.utils.get_total_norm(model.parameters())
        if not torch.isfinite(norm):
            raise self._diverged(
                f"the weights became {norm.item()} at step {self.state.global_step}"
            )
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            share_weights(Path(self.args.output_dir, f"checkpoint-{self.state.global_step}"))
        if limit and self.args.should_save:
            self._remove_old_checkpoints(limit)

    def _remove_old_checkpoints(self, limit: int) -> None:
        """Keep `limit` checkpoints, the one just saved and the best among them in any case.

        The Trainer keeps the newest: where a disk's times cannot be trusted, that of the highest
        step, which a killed run may have left cut short. The best it knows by its whole path.
        """
        kept = {f"checkpoint-{self.state.global_step}"}
        if self.state.best_model_checkpoint:
            kept.add(Path(self.state.best_model_checkpoint).name)
        ours = set(map(str, checkpoints_in(Path(self.args.output_dir))))  # no copy of its user's
        found = [at for at in sort_checkpoints(self.args.output_dir, use_mtime=True) if at in ours]
        old = [folder for folder in found if Path(folder).name not in kept]
        for folder in old[: max(0, len(found) - limit)]:
            shutil.rmtree(folder, ignore_errors=True)

    def _load_optimizer_and_scheduler(self, checkpoint):
        """The optimizer's settings of now win over the checkpoint's; the schedule keeps its place.

        With the same settings nothing changes, to the bit.
        """
        told = [
            {key: group[key] for key in TOLD if key in group}
            for group in self.optimizer.param_groups
        ]
        super()._load_optimizer_and_scheduler(checkpoint)
        for group, now in zip(self.optimizer.param_groups, told, strict=True):
            before, peak = group.get("initial_lr", now["initial_lr"]), now["initial_lr"]
            if before != peak:
                group["lr"] = peak * (group["lr"] / before if before else 1.0)
            group.update(now)
        self.lr_scheduler.base_lrs = [now["initial_lr"] for now in told]

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        load_weights(self.model, resume_from_checkpoint)

    def _load_best_model(self):
        best = self.state.best_model_checkpoint
        check_best(Path(best))
        load_weights(self.model, best)

    def _determine_best_metric(self, metrics, trial):
        """The Trainer's own, but a tie is decided (`standing`), and only what is saved can be the
        best, for nothing else can be published."""
        saved = self.control.should_save or self.args.save_strategy == SaveStrategy.BEST
        if self.args.load_best_model_at_end and not saved:
            return False
        if super()._determine_best_metric(metrics, trial):
            return True
        best = scores_at(self.state.best_global_step, self.state.log_history)
        if not best or standing(metrics, self.args) <= standing(best, self.args):
            return False
        self.state.best_global_step = self.state.global_step
        return True


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a run, whole or not, by their step."""
    steps = {path: path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")}
    return sorted((path for path, step in steps.items() if step.isdigit()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint folder is named after."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def scores_at(step: int | None, history: list[dict[str, float]]) -> dict[str, float]:
    """The last evaluation at a step, from a Trainer's log history; empty where there is none."""
    found = [entry for entry in history if "eval_loss" in entry and entry["step"] == step]
    return found[-1] if found else {}


def standing(metrics: dict[str, float], args: TrainArguments) -> tuple[float, float]:
    """What makes a model the best: the greater, the better. A tie of its metric, common on a
    validation split of few songs, goes to the lower loss."""
    value = metrics[f"eval_{args.metric_for_best_model}"]
    return value if args.greater_is_better else -value, -metrics["eval_loss"]


def check_best(checkpoint: Path) -> None:
    """Raise UserError where the checkpoint to be published lacks a part of the model."""
    if not holds_weights(checkpoint):
        raise UserError(
            f"the best checkpoint, '{checkpoint}', is missing or cut short: put it back, or delete "
            "it to do without, then go on with --resume_from_checkpoint last"
        )

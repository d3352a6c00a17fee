"""Training: the Trainer with this project's features, augmentation, loss, sampler and optimizer.

The model stays a plain `ASTForAudioClassification`: everything that training adds happens before
or after its forward pass, or in a hook that is gone when training ends.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader
from transformers import ASTFeatureExtractor, ASTForAudioClassification, Trainer
from transformers.trainer_utils import EvalPrediction, SaveStrategy, sort_checkpoints

from genreast import attention, last_layer
from genreast.augment import Augmentation, patchout, random_crop
from genreast.batches import (
    NO_LABEL,
    ClipDataset,
    WholeSteps,
    collate,
    filled,
    pool_windows,
    split_windows,
)
from genreast.callbacks import SamplerEpoch
from genreast.errors import UserError, one_line
from genreast.features import LogMel
from genreast.imbalance import EpochSampler, class_counts, sampling_weights, training_loss
from genreast.loading import decoding_processes
from genreast.metrics import evaluate_clips
from genreast.model import load_weights
from genreast.model_window import window_samples
from genreast.optimizer import parameter_groups
from genreast.pretrained import holds_weights
from genreast.recipe import TrainArguments
from genreast.streaming import BatchNumbers, Deal, StreamedClips

TOLD = ("initial_lr", "weight_decay", "betas", "eps")  # of an optimizer's groups, by the settings


class GenreTrainer(Trainer):
    """Trains on waveforms: log-mel on the device, sums of losses, metrics of clips and songs."""

    # Losses are summed over the samples and divided by their number in the whole step, over
    # accumulation and processes; a mean would be scaled wrongly by the Trainer.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: ASTForAudioClassification,
        args: TrainArguments,
        train_clips: ClipDataset | StreamedClips,
        eval_clips: ClipDataset,
        extractor: ASTFeatureExtractor,
        **options,
    ):
        self.train_clips, self.eval_clips = train_clips, eval_clips
        self.genres = [model.config.id2label[i] for i in range(model.config.num_labels)]
        self.window = window_samples(model.config)
        self.features = LogMel.from_extractor(extractor)
        self.augmentation = Augmentation.from_settings(args)
        self.counts = class_counts(
            train_clips.labels, train_clips.song_ids, len(self.genres), args.count_by
        )
        self.loss = training_loss(args, self.counts)
        self._generator = torch.Generator()
        self._micro_step = (-1, 0)
        with refusals("these settings"):
            super().__init__(
                model=model,
                args=args,
                data_collator=collate,
                train_dataset=train_clips,
                eval_dataset=eval_clips,
                processing_class=extractor,
                compute_metrics=self._metrics,
                **options,
            )
        if args.workers_undecided:
            args.dataloader_num_workers = decoding_processes(args, train_clips)
        self.model_accepts_loss_kwargs = True  # so that the Trainer counts the step's samples
        self.loss.to(args.device)
        last_layer.use(model)
        if args.bf16 and args.device.type == "cpu":
            attention.use(model)
        if args.torch_compile:
            attention.use_no_mask(model)

    def get_train_dataloader(self) -> DataLoader:
        """The Trainer's own; streamed clips are asked for a whole batch at a time."""
        if not isinstance(self.train_dataset, StreamedClips):
            return super().get_train_dataloader()
        return self._get_dataloader(
            self.train_dataset, "Training", 1, self._get_train_sampler, is_training=True
        )

    def get_eval_dataloader(self, eval_dataset=None) -> DataLoader:
        """The Trainer's own, but for `--dataloader_drop_last`: no clip is left unjudged."""
        dropped, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = dropped

    def _get_train_sampler(self, train_dataset=None) -> EpochSampler | WholeSteps | BatchNumbers:
        clips, args = self.train_clips, self.args
        weights = sampling_weights(clips.labels, self.counts, args.sampling_exponent)
        sampler = EpochSampler(weights, args.seed)
        if isinstance(clips, StreamedClips):
            workers = max(1, args.dataloader_num_workers)
            shape = (self._train_batch_size, args.world_size, workers, args.shuffle_buffer)
            sampler = clips.deal_out(Deal(sampler, *shape))
        elif not args.dataloader_drop_last:
            sampler = WholeSteps(sampler, self._train_batch_size * args.world_size)
        # After a resume accelerate's wrapping hides the sampler from `set_epoch` on two processes.
        self.add_callback(SamplerEpoch(sampler))
        return sampler

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """AdamW with layer-wise learning rates, and no decay where it does harm."""
        if self.optimizer is None:
            args = self.args
            groups = parameter_groups(
                self.model if model is None else model,
                args.learning_rate,
                args.weight_decay,
                args.layer_decay,
            )
            with refusals(f"--optim {args.optim.value}"):
                optimizer_class, options = self.get_optimizer_cls_and_kwargs(args, self.model)
                self.optimizer = optimizer_class(groups, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps, optimizer=None):
        """The Trainer's own."""
        kind, options = self.args.lr_scheduler_type.value, self.args.lr_scheduler_kwargs or {}
        with refusals(f"--lr_scheduler_type {kind} with --lr_scheduler_kwargs {options}"):
            return super().create_scheduler(num_training_steps, optimizer)

    def _get_learning_rate(self) -> float:
        """The head's, which `--learning_rate` sets; the Trainer would log the embeddings'."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def _update_auto_batch_size(self, batch_size):
        """What a smaller batch was found to fit is the setting from then on, and is recorded."""
        super()._update_auto_batch_size(batch_size)
        self.args.per_device_train_batch_size = batch_size // max(1, self.args.n_gpu)

    def _run_epoch(self, **options):
        """None at all where a run is resumed that had lost its patience."""
        if not self.control.should_training_stop:
            super()._run_epoch(**options)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Augmented features, one forward pass, and this process's part of the step's mean loss."""
        generator = self._step_generator()
        inputs = filled(inputs)
        counted = inputs["labels"] != NO_LABEL
        labels = one_hot(inputs["labels"].clamp(min=0), len(self.genres)).float()
        features, labels = self.training_features(inputs, labels, generator)
        with patchout(self.model, self.args.patchout, self.args.patchout_kind, generator):
            outputs = model(input_values=features)
        losses = self.loss(outputs.logits, labels) * counted
        if num_items_in_batch is None:
            num_items_in_batch = len(losses) * self.accelerator.num_processes
        # DistributedDataParallel averages gradients over processes: undo it.
        loss = losses.sum() / num_items_in_batch * self.accelerator.num_processes
        if not torch.isfinite(loss):
            step = self.state.global_step + 1
            raise self._diverged(f"the loss became {loss.item()} at step {step}")
        return (loss, outputs) if return_outputs else loss

    def _diverged(self, what: str) -> UserError:
        """What to do where numbers have become none."""
        if not self.state.global_step:
            return UserError(
                f"{what}; nothing is learned yet: look at the start's weights and the augmentation"
            )
        return UserError(
            f"{what}; lower --learning_rate (now {self.args.learning_rate:g}), or train in float32 "
            "with --bf16 false. Checkpoints saved before are unharmed"
        )

    def _save_checkpoint(self, model, trial):
        """The Trainer's own, of weights that are numbers: what is saved can be gone on from."""
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
        found = sort_checkpoints(self.args.output_dir, use_mtime=True)
        old = [folder for folder in found if Path(folder).name not in kept]
        for folder in old[: max(0, len(found) - limit)]:
            shutil.rmtree(folder, ignore_errors=True)

    @torch.no_grad()
    def training_features(
        self, inputs: dict[str, torch.Tensor], labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augmented model inputs (batch, frames, mel) and labels (batch, classes) of a batch."""
        waveforms, lengths = random_crop(
            inputs["waveforms"], inputs["lengths"], self.window, generator
        )
        waveforms, lengths, labels = self.augmentation.waveforms(
            waveforms, lengths, labels, generator
        )
        features = self.features.train()(waveforms, lengths)
        return self.augmentation.features(features, lengths, generator), labels

    @property
    def ast(self) -> ASTForAudioClassification:
        """The whole model, as it is published."""
        return self.accelerator.unwrap_model(self.model)

    def gathered_weights(self) -> dict[str, torch.Tensor] | None:
        """The whole model's weights where FSDP shards them; all processes call this together."""
        return self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Logits of whole clips, and their row numbers in the place of labels.

        A batch of long clips has many windows: the model hears a batch of them at a time.
        """
        inputs = self._prepare_inputs(inputs)
        waveforms, lengths, clips = split_windows(
            inputs["waveforms"], inputs["lengths"], self.window
        )
        # Under FSDP the processes must call the model equally often.
        size = len(waveforms) if self.is_fsdp_enabled else self.args.eval_batch_size
        features = self.features.eval()
        parts = zip(waveforms.split(size), lengths.split(size), strict=True)
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = [model(input_values=features(*part)).logits.float() for part in parts]
        return None, pool_windows(torch.cat(logits), clips), inputs["indices"]

    def _metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Clip and song metrics; each clip counts once, whatever the number of processes."""
        if not np.isfinite(prediction.predictions).all():
            step = self.state.global_step
            raise self._diverged(f"the model's answers became no numbers (NaN) by step {step}")
        indices, first = np.unique(prediction.label_ids, return_index=True)
        clips = self.eval_clips
        scores = evaluate_clips(
            prediction.predictions[first],
            np.asarray(clips.labels)[indices],
            [clips.song_ids[index] for index in indices],
            self.genres,
        )
        flat = {"loss": scores["clip"]["log_loss"]}
        for level, values in scores.items():
            for name, value in values.items():
                if isinstance(value, float):
                    flat[f"{level}_{name}"] = value
        return flat

    def _load_optimizer_and_scheduler(self, checkpoint):
        """What the optimizer was told anew wins over the checkpoint; the schedule keeps its place.

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
        """The Trainer's own, but for ties, and of what can be published alone: what is saved."""
        saved = self.control.should_save or self.args.save_strategy == SaveStrategy.BEST
        if self.args.load_best_model_at_end and not saved:
            return False
        if super()._determine_best_metric(metrics, trial):
            return True
        step = self.state.best_global_step
        found = [
            entry
            for entry in self.state.log_history
            if "eval_loss" in entry and entry["step"] == step
        ]
        if not found or standing(metrics, self.args) <= standing(found[-1], self.args):
            return False
        self.state.best_global_step = self.state.global_step
        return True

    def floating_point_ops(self, inputs) -> int:
        """Not counted: the Trainer's estimate is made for text."""
        return 0

    def _step_generator(self) -> torch.Generator:
        """Augmentation's random numbers: of the seed, the step and the process, not of the past.

        A resumed run so draws what an unbroken one would have drawn.
        """
        step, micro_step = self._micro_step
        micro_step = micro_step + 1 if step == self.state.global_step else 0
        self._micro_step = (self.state.global_step, micro_step)
        key = (self.args.seed, self.state.global_step, micro_step, self.args.process_index)
        seed = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
        return self._generator.manual_seed(int(seed >> np.uint64(1)))


def standing(metrics: dict[str, float], args: TrainArguments) -> tuple[float, float]:
    """What makes a model the best: the greater, the better. A tie of its metric, common on a
    validation split of few songs, goes to the lower loss."""
    value = metrics[f"eval_{args.metric_for_best_model.removeprefix('eval_')}"]
    return value if args.greater_is_better else -value, -metrics["eval_loss"]


def check_best(checkpoint: Path) -> None:
    """Raise UserError where the checkpoint to be published lacks a part of the model."""
    if not holds_weights(checkpoint):
        raise UserError(
            f"the best checkpoint, '{checkpoint}', is missing or cut short: put it back, or delete "
            "it to do without, then go on with --resume_from_checkpoint last"
        )


@contextlib.contextmanager
def refusals(settings: str) -> Iterator[None]:
    """Turn a library's refusal of settings into a UserError with the library's own words."""
    try:
        yield
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"{settings} cannot be used: {one_line(error)}") from error

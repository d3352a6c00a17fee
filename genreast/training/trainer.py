"""Training: the Trainer with this project's features, augmentation, loss, sampler and optimizer.

The model stays a plain `ASTForAudioClassification`: everything that training adds happens before
or after its forward pass, or in a hook that is gone when training ends.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader
from transformers import ASTFeatureExtractor, ASTForAudioClassification, TrainerCallback
from transformers.trainer_utils import EvalPrediction

from genreast import attention, last_layer
from genreast.errors import UserError, one_line
from genreast.features import LogMel
from genreast.metrics import evaluate_clips
from genreast.model_window import window_samples
from genreast.pretrained import label_names
from genreast.training.augment import Augmentation, patchout, random_crop
from genreast.training.batches import (
    NO_LABEL,
    ClipDataset,
    WholeSteps,
    collate,
    filled,
    pool_windows,
    split_windows,
)
from genreast.training.checkpoints import ResumableTrainer
from genreast.training.imbalance import EpochSampler, class_counts, sampling_weights, training_loss
from genreast.training.loading import decoding_processes
from genreast.training.optimizer import parameter_groups
from genreast.training.recipe import TrainArguments
from genreast.training.streaming import BatchNumbers, Deal, StreamedClips


class SamplerEpoch(TrainerCallback):
    """Tells the sampler which epoch begins."""

    def __init__(self, sampler: EpochSampler | WholeSteps | BatchNumbers):
        self.sampler = sampler

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.set_epoch(int(state.epoch))


class GenreTrainer(ResumableTrainer):
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
        self.genres = label_names(model)
        self.window = window_samples(model.config)
        self.features = LogMel(extractor)
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
        """The Trainer's own; what it refuses of the settings is told."""
        kind, options = self.args.lr_scheduler_type.value, self.args.lr_scheduler_kwargs or {}
        with refusals(f"--lr_scheduler_type {kind} with --lr_scheduler_kwargs {options}"):
            return super().create_scheduler(num_training_steps, optimizer)

    def _get_learning_rate(self) -> float:
        """The head's, which `--learning_rate` sets; the Trainer would log the embeddings'."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def _update_auto_batch_size(self, batch_size):
        """The smaller batch that was found to fit is the setting from then on, and is recorded."""
        super()._update_auto_batch_size(batch_size)
        self.args.per_device_train_batch_size = batch_size // max(1, self.args.n_gpu)

    def _run_epoch(self, **options):
        """No epoch is run where the resumed run had already stopped early."""
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


@contextlib.contextmanager
def refusals(settings: str) -> Iterator[None]:
    """Turn a library's refusal of settings into a UserError with the library's own words."""
    try:
        yield
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"{settings} cannot be used: {one_line(error)}") from error

"""The callbacks of training: patience across a resume, and the sampler's epoch."""

from transformers import EarlyStoppingCallback, TrainerCallback

from genreast.batches import WholeSteps
from genreast.imbalance import EpochSampler
from genreast.streaming import BatchNumbers


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


class SamplerEpoch(TrainerCallback):
    """Tells the sampler which epoch begins."""

    def __init__(self, sampler: EpochSampler | WholeSteps | BatchNumbers):
        self.sampler = sampler

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.set_epoch(int(state.epoch))

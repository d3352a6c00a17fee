"""A linear probe: hear every clip once through the frozen body, then train the head on the result.

Only where nothing changes what the body hears: a frozen body, no augmentation of the input, and
clips that fit the model's window. Every epoch after the hearing then costs a matrix product.
Streamed clips may be too many to keep even so: a frozen body then hears them in every epoch.
"""

import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import ASTForAudioClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from genreast.audio import SAMPLING_RATE
from genreast.bars import bar
from genreast.errors import UserError
from genreast.model_window import window_samples
from genreast.training.batches import EMPTY, NO_LABEL, ClipDataset, collate
from genreast.training.recipe import TrainArguments
from genreast.training.trainer import GenreTrainer


class HeardAnew(Exception):
    """Why the clips cannot be heard once and for all."""


def can_probe(args: TrainArguments) -> bool:
    """Whether the settings leave what the body hears as it is; the clips are another matter."""
    augmented = (
        (args.mixup_alpha and args.mixup_probability)
        or args.mask_time_frames
        or args.mask_mel_bins
        or args.time_roll
        or args.gain_db
        or args.patchout
    )
    return args.freeze == "body" and not augmented


class Head(nn.Module):
    """The classification head alone, called as the whole model is."""

    def __init__(self, classifier: nn.Module):
        super().__init__()
        self.classifier = classifier

    def activation_checkpointing_enable(self, *args, **kwargs) -> None:
        """Asked for by the Trainer: a head keeps nothing worth computing anew."""

    def forward(self, input_values: torch.Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.classifier(input_values))


class EmbeddedClips(Dataset):
    """Clips as the body's pooled output (width,), with the labels and songs of the clips."""

    def __init__(self, clips: ClipDataset, embeddings: torch.Tensor):
        self.labels, self.song_ids = clips.labels, clips.song_ids
        self.embeddings = embeddings

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        label = NO_LABEL if index == EMPTY else self.labels[index]
        return {"embedding": self.embeddings[index], "label": label, "index": index}


def collate_embeddings(clips: list[dict]) -> dict[str, torch.Tensor]:
    """Embedded clips → `embeddings` (batch, width), `labels` and `indices` (batch,)."""
    return {
        "embeddings": torch.stack([clip["embedding"] for clip in clips]),
        "labels": torch.tensor([clip["label"] for clip in clips]),
        "indices": torch.tensor([clip["index"] for clip in clips]),
    }


def check_lengths(longest: float, window: int) -> None:
    """Raise HeardAnew where clips of up to `longest` seconds do not fit a window in samples."""
    if round(longest * SAMPLING_RATE) > window:
        raise HeardAnew(f"a clip of {longest:g} s is longer than the window")


class ProbeTrainer(GenreTrainer):
    """Trains the head of a frozen AST on embeddings computed once.

    Raises HeardAnew where a clip sounds different in every epoch, or may be one of too many.
    """

    def __init__(
        self, model: ASTForAudioClassification, args, train_clips, eval_clips, extractor, **options
    ):
        if args.streaming:
            raise HeardAnew("streamed clips may be too many to keep what the body makes of them")
        for clips in (train_clips, eval_clips):  # a sample of them; `embed` looks at all
            check_lengths(clips.longest_seconds(), window_samples(model.config))
        self.whole = model
        super().__init__(model, args, train_clips, eval_clips, extractor, **options)
        if self.is_fsdp_enabled:
            raise UserError(
                "a linear probe trains its head alone, which FSDP cannot shard; launch it with "
                "configs/accelerate/many_gpus.yaml, or without accelerate"
            )
        self.train_clips, self.eval_clips = (
            EmbeddedClips(clips, self.embed(clips)) for clips in (train_clips, eval_clips)
        )
        self.train_dataset, self.eval_dataset = self.train_clips, self.eval_clips
        self.data_collator = collate_embeddings
        # All is decoded: processes beside this one would only slow it down.
        args.dataloader_num_workers = 0
        args.dataloader_persistent_workers, args.dataloader_prefetch_factor = False, None
        self.model = self.model_wrapped = Head(model.classifier)

    def _save(self, output_dir=None, state_dict=None):
        """A checkpoint holds the head alone, and what it is the head of."""
        super()._save(output_dir, state_dict)
        self.whole.config.save_pretrained(output_dir or self.args.output_dir)

    @property
    def ast(self) -> ASTForAudioClassification:
        return self.whole

    @torch.no_grad()
    def embed(self, clips: ClipDataset) -> torch.Tensor:
        """Pooled output of the body for every clip (clips, width); each process hears a share.

        Raises HeardAnew where one does not fit the window.
        """
        mine = range(self.args.process_index, len(clips), self.args.world_size)
        loader = DataLoader(
            Subset(clips, list(mine)),
            batch_size=self.args.eval_batch_size,
            collate_fn=collate,
            num_workers=self.args.dataloader_num_workers,
        )
        body = self.whole.audio_spectrogram_transformer.eval()
        self.features.eval()
        heard: list[tuple[int, torch.Tensor]] = []
        longest = 0
        hide = self.args.disable_tqdm or not self.is_world_process_zero()
        for batch in bar(loader, desc="listening", disable=hide):
            longest = max(longest, int(batch["lengths"].max()))
            features = self.features(
                batch["waveforms"].to(self.args.device), batch["lengths"].to(self.args.device)
            )
            with self.accelerator.autocast():
                pooled = body(features).pooler_output.float().cpu()
            heard += zip(batch["indices"].tolist(), pooled, strict=True)
        longest = max(gather_object([longest]))  # so that all processes raise, or none
        check_lengths(longest / SAMPLING_RATE, self.window)
        everywhere = sorted(gather_object(heard), key=lambda pair: pair[0])
        return torch.stack([pooled for _, pooled in everywhere])

    def training_features(self, inputs, labels, generator):
        return inputs["embeddings"], labels

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            logits = model(input_values=inputs["embeddings"]).logits
        return None, logits.float(), inputs["indices"]

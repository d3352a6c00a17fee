"""What a training step will hold in memory, told before it starts.

Counted from what torch keeps, not measured: a test holds it to what torch really keeps for the
backward pass. Python and its libraries come on top (about 0.7 GB, and on a GPU 0.5 GB of its own).
"""

from dataclasses import dataclass

import torch
from transformers import ASTConfig, ASTForAudioClassification

from genreast.training.augment import kept_tokens
from genreast.training.recipe import TrainArguments

FLOAT32, HALF = 4, 2  # bytes a value


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on each device: of the model with its optimizer, and of the batch that takes most."""

    model: float
    activations: float
    batch: str

    def __str__(self) -> str:
        return (
            f"about {_size(self.model + self.activations)}: weights and optimizer "
            f"{_size(self.model)}, activations of {self.batch} {_size(self.activations)}"
        )


def training_memory(
    model: ASTForAudioClassification, args: TrainArguments, shards: int = 1
) -> TrainingMemory:
    """What training a model with these settings takes at its peak, in each process.

    `shards` is the number of processes that share weights and optimizer out (FSDP).
    On top of what is kept for the backward pass, one layer is at work: its gradients, and with
    activation checkpointing the layer computed anew. Evaluation keeps nothing and works with one
    layer too, of a batch of its own and with no patch left out.
    """
    config, half = model.config, args.bf16 or args.fp16
    grid = model.audio_spectrogram_transformer.embeddings.get_shape(config)
    states = model_bytes(model, args) / shards
    evaluated = args.eval_batch_size * layer_bytes(config, 2 + grid[0] * grid[1], half)
    tokens = len(kept_tokens(grid, args.patchout, args.patchout_kind, torch.Generator()))
    layers = 1 if args.freeze == "body" or not args.activation_checkpointing else 2
    trained = layers * layer_bytes(config, tokens, half)
    if args.freeze != "body":
        trained += saved_bytes(config, tokens, half, args.activation_checkpointing)
    trained *= args.train_batch_size
    if evaluated > trained:
        return TrainingMemory(states, evaluated, f"{args.eval_batch_size} clips in evaluation")
    return TrainingMemory(states, trained, f"{args.train_batch_size} clips")


def model_bytes(model: ASTForAudioClassification, args: TrainArguments) -> int:
    """Weights in float32; of those trained also gradients, AdamW's two moments, and copies.

    Autocast copies weights to half precision, DistributedDataParallel gradients to its buckets.
    """
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    copies = HALF * (args.bf16 or args.fp16) + FLOAT32 * (args.world_size > 1)
    return FLOAT32 * frozen + (4 * FLOAT32 + copies) * trained


def saved_bytes(config: ASTConfig, tokens: int, half: bool, checkpointing: bool) -> int:
    """What one window of `tokens` tokens keeps for the backward pass, besides weights.

    With activation checkpointing each layer keeps its input alone (Chen 2016). The last layer
    works for the pooled tokens: of the others it keeps its input, the norm's output (in half
    precision a copy each for keys and values), keys and values.
    """
    value = HALF if half else FLOAT32
    layer = rows = FLOAT32 * tokens * config.hidden_size
    last = rows
    if not checkpointing:
        layer = layer_bytes(config, tokens, half)
        last += (4 if half else 3) * value * tokens * config.hidden_size
    features = value * config.max_length * config.num_mel_bins
    return (config.num_hidden_layers - 1) * layer + last + features


def layer_bytes(config: ASTConfig, tokens: int, half: bool) -> int:
    """What one layer keeps for the backward pass of one window.

    A value a token and unit of width: the input of both norms (float32 always), their outputs (of
    the first, in half precision, a copy each for query, key and value), query, key, value and
    attention's result; of the MLP's width the input and output of its GELU (Korthikanti 2022,
    section 4, without dropout). Eager attention keeps its tokens × tokens
    matrix of each head in float32, and in half precision a copy; the others keep none.
    """
    width, inner = config.hidden_size, config.intermediate_size
    value = HALF if half else FLOAT32
    kept = tokens * (2 * width * FLOAT32 + ((8 if half else 6) * width + 2 * inner) * value)
    if config._attn_implementation == "eager":
        matrix = FLOAT32 + (HALF if half else 0)
        kept += config.num_attention_heads * tokens**2 * matrix
    return kept


def _size(bytes: float) -> str:
    return f"{bytes / 1e9:.1f} GB" if bytes >= 1e9 else f"{bytes / 1e6:.0f} MB"

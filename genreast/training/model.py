"""The Audio Spectrogram Transformer: from the Hub, a folder, an original `.pth`, or from scratch.

Whatever it starts from, the result is a plain `ASTForAudioClassification` with the dataset's
labels, the asked-for window length and strides, and frozen parts.
"""

import math
import pickle
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from genreast.errors import UserError, one_line
from genreast.hub_files import file_of
from genreast.pretrained import EXTRACTOR_FILE, WEIGHTS_FILE, load_ast, read_config

AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974  # the published AST models' (Gong 2021)

HEAD_WIDTH = 64  # of every attention head of AST and DeiT

# Width, layers, heads and patch stride. `base` is the paper's (Gong 2021, section 2.1), `small` is
# DeiT-small's width with half its depth, `tiny` trains on a laptop's CPU in minutes.
SIZES = {
    "tiny": {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "stride": 16},
    "small": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "stride": 16},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "stride": 10},
}


def from_scratch(
    size: str,
    max_length: int = 1024,
    time_stride: int | None = None,
    frequency_stride: int | None = None,
    attn_implementation: str = "sdpa",
) -> ASTForAudioClassification:
    """A model with random weights at a named size: tiny, small or base."""
    shape = dict(SIZES[size])
    stride = shape.pop("stride")
    config = ASTConfig(
        **shape,
        intermediate_size=4 * shape["hidden_size"],
        max_length=max_length,
        time_stride=time_stride or stride,
        frequency_stride=frequency_stride or stride,
        attn_implementation=attn_implementation,
    )
    model = ASTForAudioClassification(config)
    # Variance 1 / inputs (LeCun 1998, section 4.6) keeps the signal's size through the layers.
    # transformers' 0.02 is meant for wide models: a narrow one learns far more slowly from it.
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    embeddings = model.audio_spectrogram_transformer.embeddings
    # transformers leaves these at zero, where every patch looks alike at first; AST's own code
    # draws them from a truncated normal.
    for parameter in (
        embeddings.position_embeddings,
        embeddings.cls_token,
        embeddings.distillation_token,
    ):
        nn.init.trunc_normal_(parameter, std=config.initializer_range)
    return model


def from_pretrained(source: str, attn_implementation: str = "sdpa") -> ASTForAudioClassification:
    """A model from a Hub id or a model folder, in float32.

    Raises UserError when there is none, when the Hub cannot be reached, or when it is no AST.
    """
    read_config(source)
    model, missing = load_ast(source, attn_implementation=attn_implementation)
    missing = [name for name in missing if not name.startswith("classifier.")]
    if missing:
        raise UserError(
            f"model '{source}' lacks {len(missing)} weights, such as '{missing[0]}': it is a part "
            "of a model, as a linear probe's checkpoint is; start from the whole one"
        )
    return model


def statistics_of(source: str) -> tuple[float, float]:
    """Mean and std of log-mel that a Hub model or model folder was trained with.

    AudioSet's where it does not say. Raises UserError where that cannot be known.
    """
    path = file_of(source, EXTRACTOR_FILE)
    if path is None:
        return AUDIOSET_MEAN, AUDIOSET_STD
    try:
        extractor = ASTFeatureExtractor.from_json_file(path)
        mean, std = float(extractor.mean), float(extractor.std)
        if not (math.isfinite(mean) and 0 < std < math.inf):
            raise ValueError(f"mean {mean}, std {std}")
    except (ValueError, TypeError) as error:
        raise UserError(
            f"the {EXTRACTOR_FILE} of '{source}' is broken ({one_line(error)}); copy it again"
        ) from error
    return mean, std


def load_weights(model: nn.Module, folder: str | Path) -> None:
    """Put the weights of a saved folder into a model of the same shape, every one of them.

    A part of the model, such as its head, takes its own from a folder of the part or of the whole.

    `from_pretrained` maps the saved parameter names (`encoder.layer.0…`) to those in memory
    (`layers.0…`); `load_state_dict` with strict=False, which the Trainer calls to resume and to
    load its best checkpoint, passes over all layers in silence.
    """
    if not isinstance(model, ASTForAudioClassification):
        saved = load_file(Path(folder) / WEIGHTS_FILE)
        _put(model, {name: saved[name] for name in model.state_dict()})
        return
    saved, report = ASTForAudioClassification.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    if report["missing_keys"]:
        raise UserError(
            f"'{folder}' holds a part of the model alone, as a linear probe saves it; expected all "
            "its weights: resume with the settings it was made with (--freeze body, and no "
            "augmentation, as configs/linear_probe.yaml sets them)"
        )
    _put(model, saved.state_dict())


def _put(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """`load_state_dict` that shares weights out where FSDP shards the model."""
    set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True))


def average_weights(model: nn.Module, folders: list[Path]) -> None:
    """Give a model the mean of the weights of saved folders (Izmailov 2018; AST's own recipe)."""
    total = {
        name: torch.zeros_like(weights, dtype=torch.float64)
        for name, weights in model.state_dict().items()
    }
    for folder in folders:
        load_weights(model, folder)
        for name, weights in model.state_dict().items():
            total[name] += weights.double() / len(folders)
    model.load_state_dict({name: weights.float() for name, weights in total.items()})


def from_pth(
    path: Path, label_names: list[str], attn_implementation: str = "sdpa"
) -> ASTForAudioClassification:
    """A model from an original GenreAST state dict and the label names in their order.

    Its parameter names are those of earlier transformers, which `from_pretrained` maps to today's.
    Raises UserError as `_read_pth` does, and where it is no state dict of an AST with as many
    classes.
    """
    loaded = _read_pth(path)
    weights = _without_wrapper(loaded)
    head = weights.get("classifier.dense.weight")
    positions = weights.get("audio_spectrogram_transformer.embeddings.position_embeddings")
    if any(name.endswith("v.pos_embed") for name in loaded):  # github.com/YuanGongND/ast
        raise UserError(
            f"'{path}' has the layer names of the AST authors' own code, which transformers does "
            "not read; start from the same model on the Hub: --model_name_or_path "
            "MIT/ast-finetuned-audioset-10-10-0.4593"
        )
    if head is None or positions is None:
        raise UserError(
            f"'{path}' is no state dict of an ASTForAudioClassification: it has no "
            "classifier.dense.weight and position embeddings. Save it with "
            "torch.save(model.state_dict(), …)"
        )
    if len(label_names) != len(head):
        raise UserError(
            f"'{path}' has {len(head)} classes, the label list {len(label_names)}; give its own "
            "label names in order, one a line, with --pth_labels"
        )
    layers = {name.split("layer.")[1].split(".")[0] for name in weights if ".layer." in name}
    config = ASTConfig(
        hidden_size=head.shape[1],
        num_hidden_layers=len(layers),
        num_attention_heads=head.shape[1] // HEAD_WIDTH,
        intermediate_size=4 * head.shape[1],
        id2label=dict(enumerate(label_names)),
        label2id={name: index for index, name in enumerate(label_names)},
        attn_implementation=attn_implementation,
    )
    return _model_of(weights, config, path)


def _read_pth(path: Path) -> dict:
    """What `torch.save` wrote; empty where it is no dict.

    Raises UserError for a pickle that would run code, for the file is read as data.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"'{path}' holds more than tensors, and could run code: it was not loaded. Save it "
            "with torch.save(model.state_dict(), …)"
        ) from error
    except (EOFError, LookupError) as error:
        raise UserError(f"'{path}' is not a file that torch.save wrote") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read as a state dict: {one_line(error)}") from error
    return loaded if isinstance(loaded, dict) else {}


def _model_of(
    weights: dict[str, torch.Tensor], config: ASTConfig, path: Path
) -> ASTForAudioClassification:
    """The model of a config, with all of these weights, which came from `path`."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(weights, Path(folder) / WEIGHTS_FILE, {"format": "pt"})
        config.save_pretrained(folder)
        try:
            model, report = ASTForAudioClassification.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
        except (RuntimeError, ValueError, ArithmeticError) as error:
            raise UserError(
                f"'{path}' does not fit an AST of 1024 frames and strides of 10, "
                f"{config.hidden_size} wide, with heads of {HEAD_WIDTH}, as the original trained it"
            ) from error
    left_out = sorted([*report["missing_keys"], *report["unexpected_keys"]])
    if left_out or report["mismatched_keys"]:
        raise UserError(
            f"'{path}' does not fit an AST of {config.num_hidden_layers} layers, "
            f"{config.hidden_size} wide: {', '.join(left_out[:3]) or 'shapes differ'}"
        )
    return model


def _without_wrapper(weights: dict) -> dict[str, torch.Tensor]:
    """Tensors by name, without the prefix that DataParallel or a wrapping module put before all."""
    known = ("audio_spectrogram_transformer.", "classifier.")
    cleaned = {}
    for name, tensor in weights.items():
        starts = [name.find(part) for part in known if part in name]
        if starts and isinstance(tensor, torch.Tensor):
            cleaned[name[min(starts) :]] = tensor.contiguous()
    return cleaned


def set_labels(model: ASTForAudioClassification, label_names: list[str]) -> bool:
    """Give the model the dataset's labels; returns whether that took a new, untrained head.

    A head for the same set of names is kept, reordered to the dataset's order.
    """
    config = model.config
    old_names = [str(config.id2label[i]) for i in range(config.num_labels)]  # or numbers, or null
    head = model.classifier.dense
    if sorted(old_names) == sorted(label_names):
        order = [old_names.index(name) for name in label_names]
        with torch.no_grad():
            head.weight.copy_(head.weight[order].clone())
            head.bias.copy_(head.bias[order].clone())
    else:
        head = nn.Linear(config.hidden_size, len(label_names))
        nn.init.trunc_normal_(head.weight, std=config.initializer_range)
        nn.init.zeros_(head.bias)
        model.classifier.dense = head
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}
    config.problem_type = "single_label_classification"
    model.num_labels = len(label_names)
    return sorted(old_names) != sorted(label_names)


def resize(
    model: ASTForAudioClassification,
    max_length: int | None = None,
    time_stride: int | None = None,
    frequency_stride: int | None = None,
) -> None:
    """Change window length or strides; position embeddings are interpolated in time and frequency.

    At the original size nothing changes. Loading with `ignore_mismatched_sizes` would draw new
    random position embeddings instead. Bicubic, as DeiT's own code does it. AST's own code
    interpolates a longer window bilinearly; for a shorter one it cuts the middle out, with which
    patches keep their distance in time.
    """
    config, embeddings = model.config, model.audio_spectrogram_transformer.embeddings
    old_shape = embeddings.get_shape(config)
    config.max_length = max_length or config.max_length
    config.time_stride = time_stride or config.time_stride
    config.frequency_stride = frequency_stride or config.frequency_stride
    new_shape = embeddings.get_shape(config)
    if min(new_shape) < 1:
        raise UserError(
            f"a window of {config.max_length} frames is shorter than one patch of "
            f"{config.patch_size}; choose a longer --window_seconds"
        )
    embeddings.patch_embeddings.projection.stride = (config.frequency_stride, config.time_stride)
    if new_shape == old_shape:
        return
    tokens = embeddings.position_embeddings.data
    special, patches = tokens[:, :2], tokens[:, 2:]
    grid = patches.transpose(1, 2).reshape(1, -1, *old_shape)
    grid = nn.functional.interpolate(grid, size=new_shape, mode="bicubic", align_corners=False)
    patches = grid.flatten(2).transpose(1, 2)
    embeddings.position_embeddings = nn.Parameter(torch.cat([special, patches], dim=1))


def freeze_body(model: ASTForAudioClassification) -> None:
    """Train the classification head alone."""
    model.audio_spectrogram_transformer.requires_grad_(False)


def feature_extractor(config: ASTConfig, mean: float, std: float) -> ASTFeatureExtractor:
    """The stock extractor for a model, with the train split's statistics."""
    return ASTFeatureExtractor(
        max_length=config.max_length, num_mel_bins=config.num_mel_bins, mean=mean, std=std
    )

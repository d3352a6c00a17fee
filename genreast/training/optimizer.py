"""What each parameter learns at: layer-wise rates, and no decay where it does harm."""

from torch import nn


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict]:
    """Trainable parameters by layer and decay, for any torch optimizer.

    The head and the last norm learn at `learning_rate`, each layer below at `layer_decay` times the
    one above it (Clark 2020; BEiT, BEATs and EAT count so). Norms, biases, position
    embeddings and the two special tokens are not decayed.
    """
    names = [name for name, _ in model.named_parameters()]
    head = 1 + max((_layer_of(name) for name in names if ".layers." in name), default=0)
    groups: dict[tuple[int, bool], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        above = "classifier" in name or "audio_spectrogram_transformer.layernorm" in name
        layer = head if above else _layer_of(name)
        decayed = parameter.ndim > 1 and "embeddings.position" not in name and "token" not in name
        rate = learning_rate * layer_decay ** (head - layer)
        group = groups.setdefault(
            (layer, decayed),
            {
                "params": [],
                "lr": rate,
                "initial_lr": rate,  # what the schedule is a share of
                "weight_decay": weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def _layer_of(name: str) -> int:
    """0 for the embeddings, 1 for the first layer, …"""
    parts = name.split(".")
    return int(parts[parts.index("layers") + 1]) + 1 if "layers" in parts else 0

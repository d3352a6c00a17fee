"""The number format a model runs in: bfloat16 where the device is faster in it, float32 elsewhere.

Weights, residuals and logits stay float32; autocast turns matrix products to bfloat16.
"""

import torch
from torch import nn

from genreast.errors import UserError

PRECISIONS = ("auto", "float32", "bfloat16")
LEAST_PARAMETERS = 500_000  # a smaller model is done before bfloat16 has gained anything
LARGE = 20_000_000  # parameters of a model that takes longer than decoding what it hears


def choose(precision: str, model: nn.Module, device: torch.device) -> torch.dtype:
    """The dtype of matrix products for `precision` auto, float32 or bfloat16."""
    if precision not in PRECISIONS:
        raise UserError(f"--precision is '{precision}'; expected one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return getattr(torch, precision)
    gains = _parameters(model) >= LEAST_PARAMETERS and multiplies_bfloat16(device)
    return torch.bfloat16 if gains else torch.float32


def is_large(model: nn.Module) -> bool:
    """Whether the model, and not the decoder, is what predicting waits for."""
    return _parameters(model) >= LARGE


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it, and does not merely imitate it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return False


def remarks(bfloat16: bool, device: torch.device) -> list[str]:
    """What to tell whoever asked for bfloat16 on a CPU without it."""
    if not bfloat16 or device.type != "cpu" or multiplies_bfloat16(device):
        return []
    return ["this CPU only imitates bfloat16, many times slower than float32"]


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())

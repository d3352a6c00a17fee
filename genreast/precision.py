"""The number format a model runs in: bfloat16 where the device is faster in it, float32 elsewhere.

Weights, residuals and logits stay float32; autocast turns matrix products to bfloat16.
"""

import torch
from torch import nn

from genreast.errors import UserError

PRECISIONS = ("auto", "float32", "bfloat16")
# Below this many parameters decoding is the cost, and the last digits of float32 come for free.
LEAST_PARAMETERS = 20_000_000


def choose(precision: str, model: nn.Module, device: torch.device) -> torch.dtype:
    """The dtype of matrix products for `precision` auto, float32 or bfloat16."""
    if precision not in PRECISIONS:
        raise UserError(f"--precision is '{precision}'; expected one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return getattr(torch, precision)
    return torch.bfloat16 if is_large(model) and _multiplies_bfloat16(device) else torch.float32


def is_large(model: nn.Module) -> bool:
    """Whether the model, and not the decoder, is what predicting waits for."""
    return sum(parameter.numel() for parameter in model.parameters()) >= LEAST_PARAMETERS


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it, and does not merely imitate it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return False

"""Attention for prediction in bfloat16 on a CPU: plain matrix products, a few heads at a time.

torch's fused kernel gains nothing from bfloat16 on a CPU without matrix tiles; two plain products
do, as long as the scores between them stay in the cache.
"""

import torch
from torch import nn
from transformers import AttentionInterface

NAME = "heads_in_turn"


def heads_in_turn(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None = None,
    scaling: float = 1.0,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """softmax(scaling · Q Kᵀ) V without mask or dropout: AST's own attention in evaluation.

    (batch, heads, tokens, width) each → (batch, tokens, heads, width), and no weights.
    """
    batch, heads, tokens, width = query.shape
    # Autocast would turn the softmax, and with it the second product, to float32.
    with torch.autocast(query.device.type, enabled=False):
        queries, keys, values = (part.flatten(0, 1) for part in (query * scaling, key, value))
        mixed = torch.empty_like(queries)
        heads_at_once = max(2, torch.get_num_threads())
        for first in range(0, len(queries), heads_at_once):
            turn = slice(first, first + heads_at_once)
            scores = torch.bmm(queries[turn], keys[turn].transpose(1, 2))
            mixed[turn] = torch.bmm(scores.softmax(-1), values[turn])
    return mixed.view(batch, heads, tokens, width).transpose(1, 2), None


def use(model: nn.Module) -> None:
    """Have the model attend this way from now on, where that is faster. For evaluation alone."""
    if not torch.cpu.get_capabilities().get("amx_bf16"):
        AttentionInterface.register(NAME, heads_in_turn)
        model.set_attn_implementation(NAME)

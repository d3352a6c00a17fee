"""Ways of attention that are faster where sdpa, as the library calls it, is slow.

In bfloat16 on a CPU: plain matrix products, a few heads at a time. torch's fused kernel gains
nothing from bfloat16 on a CPU without matrix tiles; two plain products do, as long as the scores
between them stay in the cache.

In a compiled model: sdpa without a mask.
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "heads_in_turn"
UNMASKED = "sdpa_without_mask"


def heads_in_turn(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None = None,
    scaling: float = 1.0,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """softmax(scaling · Q Kᵀ) V without mask or dropout: AST's own attention as it is published.

    (batch, heads, tokens, width) each → (batch, tokens, heads, width), and no weights. In training
    the scores are computed again for the gradient, and take no memory in between.
    """
    # Autocast would turn the softmax, and with it the second product, to float32.
    with torch.autocast(query.device.type, enabled=False):
        training = torch.is_grad_enabled()
        heads_at_once = 2 * torch.get_num_threads() if training else max(2, torch.get_num_threads())
        turns = zip(
            *(part.flatten(0, 1).split(heads_at_once) for part in (query * scaling, key, value)),
            strict=True,
        )
        if training:
            kept = {"use_reentrant": False, "preserve_rng_state": False}
            mixed = torch.cat([checkpoint(_attend, *turn, **kept) for turn in turns])
        else:
            mixed = torch.cat([_attend(*turn) for turn in turns])
    return mixed.view(query.shape).transpose(1, 2), None


def _attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.bmm(torch.bmm(queries, keys.transpose(1, 2)).softmax(-1), values)


def use(model: nn.Module) -> None:
    """Have the model attend this way from now on, in the place of sdpa and where it is faster."""
    config = model.config
    plain = config._attn_implementation == "sdpa" and not config.attention_probs_dropout_prob
    if plain and not torch.cpu.get_capabilities().get("amx_bf16"):
        AttentionInterface.register(NAME, heads_in_turn)
        model.set_attn_implementation(NAME)


def use_no_mask(model: nn.Module) -> None:
    """Have sdpa get no mask from now on: no token of an AST is padding.

    Where torch is thought to export, as when torch 2.11 compiles, transformers makes a mask that
    hides nothing. No fused kernel takes it: on an H100 a step needs twice the time of one that is
    not compiled, and three times its memory.
    """
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(UNMASKED, sdpa_attention_forward)
        model.set_attn_implementation(UNMASKED)

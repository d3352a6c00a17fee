"""The last layer, for the two tokens that a model pools alone.

An AST's answer is read from its class and distillation tokens (Gong 2021, section 2.1); what the
last layer makes of the patches goes nowhere. To leave it out saves five sixths of the layer's
products in both directions, and changes neither the answer nor a gradient.
"""

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.audio_spectrogram_transformer import (
    modeling_audio_spectrogram_transformer as stock,
)

POOLED = 2  # tokens, the first ones


class PooledLayer(stock.ASTLayer):
    """An ASTLayer that answers for the pooled tokens."""

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: None = None, **kwargs
    ) -> torch.Tensor:
        """(batch, tokens, width) → (batch, 2, width); no mask, for no token is padding."""
        normed, pooled = self.layernorm_before(hidden_states), hidden_states[:, :POOLED]
        pooled = pooled + self.dropout(_attend(self.attention, normed, **kwargs))
        return pooled + self.dropout(self.mlp(self.layernorm_after(pooled)))


def _attend(attention: nn.Module, tokens: torch.Tensor, **kwargs) -> torch.Tensor:
    """What the pooled tokens gather from all: (batch, tokens, width) → (batch, 2, width)."""

    def heads(states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    gather = ALL_ATTENTION_FUNCTIONS.get_interface(
        attention.config._attn_implementation, stock.eager_attention_forward
    )
    mixed, _ = gather(
        attention,
        heads(attention.q_proj(tokens[:, :POOLED])),
        heads(attention.k_proj(tokens)),
        heads(attention.v_proj(tokens)),
        None,
        dropout=attention.attention_dropout if attention.training else 0.0,
        scaling=attention.scaling,
        **kwargs,
    )
    return attention.o_proj(mixed.flatten(2))


def use(model: nn.Module) -> None:
    """Have an `ASTForAudioClassification` work this way from now on.

    Its `last_hidden_state` is then of the pooled tokens alone.
    """
    model.audio_spectrogram_transformer.layers[-1].__class__ = PooledLayer

"""Linear layers for predicting in bfloat16 on a CPU, packed once.

Under autocast a layer's float32 weights are turned to bfloat16, and laid out as oneDNN multiplies
them, in every call. Here both are done once, and the MLP's GELU is part of its product.
"""

import torch
from torch import nn


class PackedLinear(nn.Module):
    """A Linear layer's product in bfloat16, and GELU after it if asked for. Not for training."""

    def __init__(self, linear: nn.Linear, gelu: bool = False):
        super().__init__()
        # No parameters: packed weights can be neither saved nor moved to another device.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().bfloat16())
        self.bias = None if linear.bias is None else linear.bias.detach().bfloat16()
        self.after = ("gelu", [], "none") if gelu else ("none", [], None)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(…, width in) of any float dtype → (…, width out) in bfloat16."""
        return torch.ops.mkldnn._linear_pointwise(
            states.bfloat16(), self.weight, self.bias, *self.after
        )


def can_pack() -> bool:
    """Whether torch was built with oneDNN, and oneDNN multiplies bfloat16 on this CPU."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def use(model: nn.Module) -> None:
    """Pack an AST's layers where oneDNN can; their float32 weights are given up."""
    if not can_pack():
        return
    for layer in model.audio_spectrogram_transformer.layers:
        attention, mlp = layer.attention, layer.mlp
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(attention, name, PackedLinear(getattr(attention, name)))
        exact_gelu = model.config.hidden_act == "gelu"
        mlp.fc1 = PackedLinear(mlp.fc1, gelu=exact_gelu)
        mlp.fc2 = PackedLinear(mlp.fc2)
        if exact_gelu:
            mlp.activation_fn = nn.Identity()

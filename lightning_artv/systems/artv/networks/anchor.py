"""Cross attention to the anchor frame, decoupled from the text's (paper Sec. 3.4, Fig. 3).

Beside the text's keys and values each cross attention gets its own for the anchor, as in
IP-Adapter. Beside a trained U-Net the anchor's values start at zero, so that it is untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lightning_artv.systems.artv.networks.tokens import KeysValues, Tokens

_NUMBERS = count()


def position_embedding_2d(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    """Sine-cosine positions `[height * width, dim]`: half of the channels for y, half for x; any
    resolution.
    """
    if dim % 4:
        raise ValueError(f"Anchor token width must be divisible by 4, got {dim}.")
    frequencies = 1.0 / 10000 ** (torch.arange(dim // 4, device=device) / (dim // 4))

    def axis(size: int) -> Tensor:
        angle = torch.arange(size, device=device, dtype=torch.float32)[:, None] * frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    y = axis(height)[:, None].expand(-1, width, -1)
    x = axis(width)[None].expand(height, -1, -1)
    return torch.cat([y, x], dim=-1).reshape(height * width, dim)


class AnchorEncoder(nn.Module):
    """Patchify the anchor's latent into tokens with 2-D positions.

    Args:
        channels: latent channels.
        dim: token width (the U-Net's cross-attention width).
        patch: patch side in latent pixels; a frame that it does not divide is padded by repeating
            its border.
    """

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.project = nn.Conv2d(channels, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, anchor: Tensor) -> Tensor:
        """Map `[B, C, h, w]` to tokens `[B, N, D]`."""
        pad_h, pad_w = -anchor.shape[-2] % self.patch, -anchor.shape[-1] % self.patch
        tokens = self.project(F.pad(anchor, (0, pad_w, 0, pad_h), mode="replicate"))
        height, width = tokens.shape[-2:]
        positions = position_embedding_2d(height, width, tokens.shape[1], tokens.device)
        return self.norm(tokens.flatten(2).transpose(1, 2) + positions.to(tokens.dtype))


class SelfAttention(AttnProcessor2_0):
    """diffusers' attention, told that it may be handed tokens, which it has no use for."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        text: Tokens | None = None,
        anchor: Tokens | None = None,
    ) -> Tensor:
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask)


class DecoupledAttention(nn.Module):
    """Attention to the text plus attention to the anchor, with the same queries.

    Args:
        hidden_size: width of the attention.
        token_dim: width of the anchor's tokens.
        silent: start with values of zero.
    """

    def __init__(self, hidden_size: int, token_dim: int, silent: bool) -> None:
        super().__init__()
        self.to_k_anchor = nn.Linear(token_dim, hidden_size, bias=False)
        self.to_v_anchor = nn.Linear(token_dim, hidden_size, bias=False)
        self.number = next(_NUMBERS)
        if silent:
            nn.init.zeros_(self.to_v_anchor.weight)

    # diffusers reads the signature of `__call__` and drops what it does not name, so this is no
    # `forward`
    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        text: Tokens | None = None,
        anchor: Tokens | None = None,
    ) -> Tensor:
        """Attend from `hidden_states` `[B, N, C]` to the text and the anchor.

        Args:
            attn: whose processor this is.
            hidden_states: `[B, N, C]`.
            encoder_hidden_states: the text's tokens `[B, L, D]`, where `text` is None.
            attention_mask: None.
            text: the text's tokens.
            anchor: the anchor's tokens; None for none.
        """
        if encoder_hidden_states is None or attention_mask is not None:
            raise ValueError("DecoupledAttention is a cross attention without mask.")
        text = Tokens(encoder_hidden_states) if text is None else text
        query = _heads(attn.to_q(hidden_states), attn.heads)
        out = F.scaled_dot_product_attention(query, *self.of_text(attn, text))
        if anchor is not None:
            out = out + F.scaled_dot_product_attention(query, *self.of_anchor(attn, anchor))
        out = out.transpose(1, 2).flatten(2)
        projected = attn.to_out[1](attn.to_out[0](out))  # linear, dropout
        assert isinstance(projected, Tensor)
        return projected

    def of_text(self, attn: Attention, text: Tokens) -> KeysValues:
        """Keys and values of the text."""
        return text.keys_values(self.number, _keys_values(attn.to_k, attn.to_v, attn.heads))

    def of_anchor(self, attn: Attention, anchor: Tokens) -> KeysValues:
        """Keys and values of the anchor."""
        to_anchor = _keys_values(self.to_k_anchor, self.to_v_anchor, attn.heads)
        return anchor.keys_values(self.number, to_anchor)


def keep_keys_values(unet: nn.Module, text: Tokens, anchor: Tokens) -> None:
    """Have all cross attentions of `unet` make keys and values before its blocks ask for them, so
    that one compiled graph of a block serves all denoising steps.

    Those of sharded blocks, whose weights are not whole yet, make theirs when they are asked.
    """
    for module in unet.modules():
        processor = module.processor if isinstance(module, Attention) else None
        if isinstance(processor, DecoupledAttention):
            if any(isinstance(weight, DTensor) for weight in module.parameters()):
                return
            processor.of_text(module, text)
            processor.of_anchor(module, anchor)


def _heads(x: Tensor, heads: int) -> Tensor:
    """`[B, L, C]` to `[B, heads, L, C / heads]`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _keys_values(to_k: nn.Module, to_v: nn.Module, heads: int) -> Callable[[Tensor], KeysValues]:
    return lambda tokens: (_heads(to_k(tokens), heads), _heads(to_v(tokens), heads))


def add_anchor_attention(unet: UNet2DConditionModel, silent: bool) -> None:
    """Give every cross attention of `unet` keys and values for the anchor, in place.

    Args:
        silent: the values start at zero, so that the untrained `unet` is untouched.
    """
    for name, module in unet.named_modules():
        if not isinstance(module, Attention):
            continue
        if name.endswith("attn2"):
            module.set_processor(
                DecoupledAttention(module.inner_dim, unet.config.cross_attention_dim, silent)
            )
        else:
            module.set_processor(SelfAttention())

"""Tokens that cross attentions read, with the keys and values that were made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Tokens:
    """Tokens of a frame's text or anchor, which no denoising step changes.

    Nor do their keys and values change: without gradients each attention makes its own once.

    Attributes:
        values: `[B, L, D]`.
        kept: an attention's number -> its keys and values, two of `[B, heads, L, D / heads]`.
    """

    values: Tensor
    kept: dict[int, KeysValues] = field(default_factory=dict)

    def keys_values(self, attention: int, make: Callable[[Tensor], KeysValues]) -> KeysValues:
        """What `make` makes of the tokens; without gradients it is asked once per attention."""
        if torch.is_grad_enabled():
            return make(self.values)
        if attention not in self.kept:
            self.kept[attention] = make(self.values)
        return self.kept[attention]


@dataclass(frozen=True)
class Joined(Tokens):
    """Tokens of several parts, one below the other; a part that is there twice counts once.

    Attributes:
        parts: whose rows these are.
    """

    parts: tuple[Tokens, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[Tokens]) -> Joined:
        """The parts' rows."""
        return cls(torch.cat([part.values for part in parts]), parts=tuple(parts))

    def keys_values(self, attention: int, make: Callable[[Tensor], KeysValues]) -> KeysValues:
        """See `Tokens.keys_values`; without gradients each part's are made once."""
        if torch.is_grad_enabled():
            return make(self.values)
        if attention not in self.kept:
            pairs = [part.keys_values(attention, make) for part in self.parts]
            keys, values = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
            self.kept[attention] = keys, values
        return self.kept[attention]

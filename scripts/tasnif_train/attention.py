"""Attention for training in bf16 on a CPU: batched matrix products in both directions, which AMX takes.

torch's fused CPU attention is fast forward but not backward: at 16 sequences of 288 positions on 2 cores with AMX, both
together take 97 ms a layer, these products 49 ms (torch 2.15). They hold the weights of all heads, 32 MB a layer there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "tasnif_bf16"
"""What a trunk's `set_attn_implementation` takes."""


class _Attention(torch.autograd.Function):
    """softmax(q k' + mask) v on [batch, heads, positions, size]; the queries come scaled."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        batch, heads, positions, size = query.shape
        q, k, v = (x.reshape(batch * heads, positions, size) for x in (query, key, value))
        scores = torch.bmm(q, k.transpose(1, 2)).view(batch, heads, positions, positions)
        if mask is not None:
            scores += mask
        weights = torch.softmax(scores, dim=-1).view(batch * heads, positions, positions)
        ctx.save_for_backward(q, k, v, weights)
        return torch.bmm(weights, v).view_as(query)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        shape = gradient.shape
        gradient = gradient.reshape(q.shape)
        of_weights = torch.bmm(gradient, v.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_value = torch.bmm(weights.transpose(1, 2), gradient)
        of_query = torch.bmm(of_scores, k)
        of_key = torch.bmm(of_scores.transpose(1, 2), q)
        return of_query.view(shape), of_key.view(shape), of_value.view(shape), None


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The signature that transformers asks for; without gradients (or with f32) torch's own."""
    if not query.requires_grad or query.dtype != torch.bfloat16:
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling)
        return mixed.transpose(1, 2), None
    mask = attention_mask
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, float(torch.finfo(query.dtype).min))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # Under autocast the softmax would be f32 and have to be cast back.
    with torch.autocast(query.device.type, enabled=False):
        return _Attention.apply(query * scale, key, value, mask).transpose(1, 2), None


def use(trunk: Any) -> None:
    """Let a trunk of transformers attend this way."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    # Masks as torch's own attention takes them.
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    trunk.set_attn_implementation(NAME)

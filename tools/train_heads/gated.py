"""The frozen model with a gate on each KV head: full attention, streaming attention, or a blend.

    attention = z * full + (1 - z) * streaming

Streaming attention sees the first `sink` rows and the last `window` ones, its own among them:

            sink          window
    key   0 1 . . . . . . . . p        query p sees s < sink and p - window < s <= p
          # # . . . . . # # # #

A text is cut into blocks of `window` queries. What a block's queries see lies in the sinks, in the
block before it and in the block itself, so that scores are [window, sink + 2 window] for each
block, and not [T, T].

Shapes: as in model.py; G = H / K query heads share a KV head, L layers.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from model import Decoder, attend, rope_tables

# Those that take a mask. The second is for where the first cannot be had.
MASKED = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Streaming:
    """Streaming attention, in place of model.attend."""

    def __init__(self, sink: int, window: int) -> None:
        assert 0 <= sink <= window, "the sinks must lie in the first block"
        self.sink, self.window = sink, window
        self.masks: dict[tuple, torch.Tensor] = {}

    def mask(self, batch: int, blocks: int, device) -> torch.Tensor:
        """Which keys are seen: [B blocks, 1, window, sink + 2 window]."""
        key = (batch, blocks, device)
        if key not in self.masks:
            begin = torch.arange(blocks, device=device)[:, None, None] * self.window
            query = begin + torch.arange(self.window, device=device)[:, None]
            near = begin + torch.arange(-self.window, self.window, device=device)
            seen_near = (near >= 0) & (near <= query) & (near > query - self.window)
            sinks = torch.arange(self.sink, device=device)
            seen_sinks = sinks <= query - self.window  # later ones are among the near
            mask = torch.cat([seen_sinks, seen_near], dim=-1)
            self.masks[key] = mask.repeat(batch, 1, 1)[:, None]
        return self.masks[key]

    def __call__(self, q, k, v, batch: int) -> torch.Tensor:
        """q [N, H, E], k and v [N, K, E] to [N, H E]."""
        length = len(q) // batch
        blocks = -(-length // self.window)
        more = blocks * self.window - length

        def cut(x):  # [N, heads, E] to [B, blocks, window, heads, E]
            x = F.pad(x.unflatten(0, (batch, length)), (0, 0, 0, 0, 0, more))
            return x.unflatten(1, (blocks, self.window))

        def keys_of(x):  # [N, K, E] to [B blocks, H, sink + 2 window, E]
            own = cut(x)
            before = F.pad(own, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1]
            sinks = own[:, :1, : self.sink].expand(-1, blocks, -1, -1, -1)
            near = torch.cat([sinks, before, own], dim=2).flatten(0, 1).transpose(1, 2)
            return near.repeat_interleave(q.shape[1] // x.shape[1], dim=1)

        mask = self.mask(batch, blocks, q.device)
        with sdpa_kernel(MASKED):
            out = F.scaled_dot_product_attention(
                cut(q).flatten(0, 1).transpose(1, 2), keys_of(k), keys_of(v), attn_mask=mask
            )
        out = out.transpose(1, 2).flatten(2).unflatten(0, (batch, blocks)).flatten(1, 2)
        return out[:, :length].flatten(0, 1)


def blend(z: torch.Tensor, full: torch.Tensor, streaming: torch.Tensor) -> torch.Tensor:
    """z [B, K] of a layer, both kinds of attention [N, H E]."""
    (batch, kv_heads), shape = z.shape, full.shape
    full, streaming = (x.view(batch, -1, kv_heads, shape[1] // kv_heads) for x in (full, streaming))
    z = z[:, None, :, None]
    return (z * full + (1 - z) * streaming).view(shape)


class GatedDecoder(nn.Module):
    def __init__(self, decoder: Decoder, streaming: Streaming) -> None:
        super().__init__()
        self.decoder = decoder.requires_grad_(False)
        self.streaming = streaming
        self.rope: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by tokens

    def forward(self, tokens, z, see=None):
        """Tokens [B, T] and gates z [B, L, K] to hidden states [N, D]. `see`, if given, is called
        with every layer's q [N, H, E], k and v [N, K, E]."""
        batch, length = tokens.shape
        if length not in self.rope:
            self.rope[length] = rope_tables(self.decoder.shape, length, tokens.device)
        cos, sin = (x.repeat(batch, 1) for x in self.rope[length])
        x = self.decoder.embed_tokens(tokens.flatten())
        for i, layer in enumerate(self.decoder.layers):
            q, k, v = layer.before(x, cos, sin)
            if see is not None:
                see(q, k, v)
            attended = blend(z[:, i], attend(q, k, v, batch), self.streaming(q, k, v, batch))
            x = layer.after(x, attended)
        return self.decoder.norm(x)

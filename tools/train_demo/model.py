"""The network: a Llama with grouped-query attention and tied embeddings.

Modules bear the names that Hugging Face gives to the tensors of a LlamaForCausalLM, so that a state
dictionary is a checkpoint. Shapes: B sequences of T tokens, N = B T rows, D hidden, H query heads, K
KV heads, E head size, V vocabulary.

Only attention knows of sequences; all else works on N rows. A step of training has the same N
whatever the context is, so that what is compiled is compiled once.
"""

import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclasses.dataclass(frozen=True)
class Shape:
    hidden: int = 384
    layers: int = 8
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 64
    ff: int = 960  # 27.1 MB in bf16 with all the rest; 1024 would be 28.3
    vocab: int = 4096
    rope_theta: float = 500_000.0
    eps: float = 1e-5
    positions: int = 32768


def rope_tables(shape: Shape, n: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin, [n, E/2], of position * theta^(-2i/E)."""
    exponents = torch.arange(0, shape.head_dim, 2, device=device).double() / shape.head_dim
    angles = torch.outer(torch.arange(n, device=device).double(), shape.rope_theta**-exponents)
    return angles.cos().float(), angles.sin().float()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [N, heads, E], cos and sin [N, E/2]: element i turns with element i + E/2."""
    a, b = x.float().chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        q_size, kv_size = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, q_size, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv_size, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv_size, bias=False)
        self.o_proj = nn.Linear(q_size, shape.hidden, bias=False)

    def qkv(self, x, cos, sin):
        """Of rows x [N, D]: rotated q [N, H, E] and k [N, K, E], and v [N, K, E]."""
        q, k, v = (
            p(x).unflatten(-1, (-1, self.head_dim)) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return rotate(q, cos, sin), rotate(k, cos, sin), v


def attend(q, k, v, batch: int) -> torch.Tensor:
    """Causal attention of each of `batch` sequences: q [N, H, E], k and v [N, K, E] to [N, H E]."""
    q, k, v = (x.unflatten(0, (batch, -1)).transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out.transpose(1, 2).flatten(2).flatten(0, 1)


class Mlp(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.ff, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.ff, bias=False)
        self.down_proj = nn.Linear(shape.ff, shape.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, shape.eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, shape.eps)
        self.mlp = Mlp(shape)

    def before(self, x, cos, sin):
        """q, k, v of the residual stream x [N, D]."""
        return self.self_attn.qkv(self.input_layernorm(x), cos, sin)

    def after(self, x, attended):
        """x [N, D] with what attention [N, H E] and the MLP add."""
        x = x + self.self_attn.o_proj(attended)
        return x + self.mlp(self.post_attention_layernorm(x))

    def forward(self, x, cos, sin, batch: int):
        return self.after(x, attend(*self.before(x, cos, sin), batch))


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, shape.eps)

    def forward(self, tokens, cos, sin):
        """Tokens [B, T] to hidden states [N, D]; cos and sin [T, E/2]."""
        batch = tokens.shape[0]
        x = self.embed_tokens(tokens.flatten())
        cos, sin = cos.repeat(batch, 1), sin.repeat(batch, 1)
        for layer in self.layers:
            x = layer(x, cos, sin, batch)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight)


def initialise(net: nn.Module, layers: int) -> None:
    """As GPT-2: what adds to the residual stream is smaller, by the number of times it does."""
    for name, parameter in net.named_parameters():
        if parameter.dim() == 2:
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            scale = 1 / math.sqrt(2 * layers) if into_residual else 1
            nn.init.normal_(parameter, std=0.02 * scale)

"""The network: a Llama with grouped-query attention and tied embeddings, and the loss it learns by.

Modules bear the names that Hugging Face gives to the tensors of a LlamaForCausalLM, so that a state
dictionary is a checkpoint. Shapes: B sequences, T tokens, D hidden, H query heads, K KV heads, E
head size, V vocabulary.
"""

import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

Z_LOSS = 1e-4
LOOK_AHEAD = 5  # tokens after the next one that a hidden state must foretell: +2 ... +6
LOOK_AHEAD_WEIGHT = 0.15  # of each
LOOK_AHEAD_TOKENS = 384  # at the end of each sequence, where the questions are


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
    """x [B, heads, T, E]: element i turns with element i + E/2."""
    a, b = x.float().chunk(2, dim=-1)
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
        """Rotated q [B, H, T, E] and k [B, K, T, E], and v [B, K, T, E]."""
        heads = (*x.shape[:2], -1, self.head_dim)
        q, k, v = (
            p(x).view(heads).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def output(self, attended: torch.Tensor) -> torch.Tensor:
        """[B, H, T, E] to [B, T, D]."""
        return self.o_proj(attended.transpose(1, 2).flatten(2))

    def forward(self, x, cos, sin):
        q, k, v = self.qkv(x, cos, sin)
        return self.output(F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))


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

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, shape.eps)

    def forward(self, tokens, cos, sin):
        """Tokens [B, T] to hidden states [B, T, D]."""
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.weight)


class Trainee(nn.Module):
    """The decoder as `model`, and what only training needs: heads that look further ahead. They
    make the last token of a question attend to the whole answer, not to its first word alone, and
    so its attention says what the answer will need."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.model = Decoder(shape)
        heads = (nn.Linear(shape.hidden, shape.hidden, bias=False) for _ in range(LOOK_AHEAD))
        self.look_ahead = nn.ModuleList(heads)
        self.look_ahead_norm = nn.RMSNorm(shape.hidden, shape.eps)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                scale = 1 / math.sqrt(2 * shape.layers) if into_residual else 1
                nn.init.normal_(parameter, std=0.02 * scale)

    def losses(self, hidden, targets, weights):
        """hidden [B, T, D], targets and weights [B, T]. The loss, and means of the cross entropy
        over plain text and over answers."""
        embedding = self.model.embed_tokens.weight
        nll, loss = cross_entropy(hidden, embedding, targets, weights)
        ends = [x[:, -LOOK_AHEAD_TOKENS:] for x in (hidden, targets, weights)]
        for ahead, head in enumerate(self.look_ahead, 1):
            state = self.look_ahead_norm(head(ends[0][:, :-ahead]))
            further = cross_entropy(state, embedding, ends[1][:, ahead:], ends[2][:, ahead:])[1]
            loss = loss + LOOK_AHEAD_WEIGHT * further
        nll = nll.detach()
        return loss, mean(nll, (weights == 1).float()), mean(nll, (weights > 2).float())


def mean(x, weights):
    return (x * weights).sum() / weights.sum().clamp(min=1e-6)


def cross_entropy(hidden, embedding, targets, weights):
    """The cross entropy of every token, and its weighted mean with a term that keeps the logits'
    normaliser near 1."""
    logits = F.linear(hidden, embedding).float()
    normaliser = logits.logsumexp(-1)
    nll = normaliser - logits.gather(-1, targets[..., None])[..., 0]
    return nll, mean(nll + Z_LOSS * normaliser**2, weights)

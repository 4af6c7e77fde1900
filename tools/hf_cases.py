"""The models of tests/fixtures, for make_hf_fixtures.py: what each of them is about."""

import dataclasses

import torch


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    about: str
    seed: int
    hidden: int
    intermediate: int
    vocab: int
    heads: int
    kv_heads: int
    layers: int = 2
    head_dim: int | None = None  # None: hidden / heads, as config.json then leaves it to the reader
    tied: bool = False
    dtype: torch.dtype = torch.float32
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    tokens: int = 48
    shard_bytes: int | None = None
    old_config: bool = False  # config.json as transformers 4 wrote it
    family: str = "llama"  # a key of FAMILIES in make_hf_fixtures.py
    extra: dict = dataclasses.field(default_factory=dict)  # more of the configuration
    rope: dict = dataclasses.field(default_factory=dict)  # rope_parameters beside rope_theta
    max_positions: int = 256
    greedy: bool = False  # 64 greedy tokens, too


# A few kilobytes each; the wider heads have pairs enough for a blend of frequencies.
SMALL = {"hidden": 24, "intermediate": 32, "vocab": 53, "heads": 4, "kv_heads": 2, "head_dim": 8}
WIDE = {"hidden": 24, "intermediate": 28, "vocab": 53, "heads": 4, "kv_heads": 2, "head_dim": 16}

CASES = [
    Case(
        "gqa_f32",
        "2 query heads a KV head",
        1,
        hidden=40,
        intermediate=56,
        vocab=89,
        heads=4,
        kv_heads=2,
        rms_norm_eps=1e-3,
    ),
    Case(
        "mha_f32",
        "as many KV heads as query heads; config.json in the older form",
        2,
        hidden=36,
        intermediate=52,
        vocab=83,
        heads=6,
        kv_heads=6,
        tokens=41,
        rope_theta=500000.0,
        rms_norm_eps=1e-6,
        old_config=True,
    ),
    Case(
        "mqa_f32",
        "one KV head",
        3,
        hidden=32,
        intermediate=44,
        vocab=97,
        heads=4,
        kv_heads=1,
        layers=3,
        tokens=53,
    ),
    Case(
        "tied_f32",
        "the embedding is the output matrix, too",
        4,
        hidden=40,
        intermediate=72,
        vocab=101,
        heads=4,
        kv_heads=2,
        tied=True,
        rms_norm_eps=1e-2,
    ),
    Case(
        "head_dim_f32",
        "head_dim is not hidden_size / heads",
        5,
        hidden=36,
        intermediate=52,
        vocab=79,
        heads=3,
        kv_heads=1,
        head_dim=20,
        rope_theta=1234.5,
        tokens=40,
    ),
    Case(
        "sharded_f32",
        "several files and an index",
        6,
        hidden=36,
        intermediate=40,
        vocab=73,
        heads=6,
        kv_heads=2,
        layers=3,
        shard_bytes=40_000,
    ),
    Case(
        "gqa_f16",
        "stored as F16",
        7,
        hidden=48,
        intermediate=88,
        vocab=97,
        heads=4,
        kv_heads=2,
        dtype=torch.float16,
        rms_norm_eps=1e-4,
        tokens=64,
    ),
    Case(
        "gqa_bf16",
        "stored as BF16",
        8,
        hidden=48,
        intermediate=88,
        vocab=97,
        heads=6,
        kv_heads=2,
        dtype=torch.bfloat16,
        rope_theta=75000.0,
        tokens=64,
    ),
    Case(
        "gqa_bf16_sharded_tied",
        "BF16, tied, several files",
        9,
        hidden=44,
        intermediate=60,
        vocab=103,
        heads=4,
        kv_heads=2,
        head_dim=14,
        layers=3,
        tied=True,
        dtype=torch.bfloat16,
        shard_bytes=24_000,
        rms_norm_eps=1e-3,
    ),
    # Families
    Case(
        "qwen2_f32",
        "Qwen2: biases of q, k and v; tied",
        10,
        family="qwen2",
        **SMALL,
        tied=True,
        rope_theta=1e6,
        greedy=True,
        extra={"use_sliding_window": False},
    ),
    Case(
        "qwen3_f32",
        "Qwen3: heads of q and k are normed; head_dim is not hidden_size / heads",
        11,
        family="qwen3",
        **WIDE,
        rope_theta=1e6,
        greedy=True,
    ),
    Case(
        "qwen3_bias_f32",
        "Qwen3 with attention_bias: q, k, v and o",
        12,
        family="qwen3",
        **SMALL,
        extra={"attention_bias": True},
    ),
    Case(
        "llama_bias_f32",
        "Llama with attention_bias: q, k, v and o",
        13,
        **SMALL,
        extra={"attention_bias": True},
        greedy=True,
    ),
    Case(
        "mistral_f32",
        "Mistral without a window",
        14,
        family="mistral",
        **SMALL,
        extra={"sliding_window": None},
    ),
    Case(
        "mistral_window_f32",
        "Mistral: a token sees the last 11",
        15,
        family="mistral",
        **SMALL,
        extra={"sliding_window": 11},
        greedy=True,
    ),
    Case(
        "qwen2_window_f32",
        "Qwen2: all layers have a window of 7",
        16,
        family="qwen2",
        **SMALL,
        extra={"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 0},
    ),
    # RoPE scaling
    Case(
        "rope_linear_f32",
        "linear, in rope_scaling with its oldest keys",
        17,
        **SMALL,
        rope={"rope_type": "linear", "factor": 2.5},
        old_config=True,
    ),
    Case(
        "rope_dynamic_f32",
        "dynamic: the prompt is longer than 32, and grows",
        18,
        **SMALL,
        rope={"rope_type": "dynamic", "factor": 3.0},
        max_positions=32,
        greedy=True,
    ),
    Case(
        "rope_dynamic_short_f32",
        "dynamic: the prompt is shorter than 64, the text grows past it",
        29,
        **SMALL,
        rope={"rope_type": "dynamic", "factor": 2.0},
        max_positions=64,
        greedy=True,
    ),
    Case(
        "rope_yarn_f32",
        "yarn as Qwen2.5 has it",
        20,
        family="qwen2",
        **WIDE,
        rope={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        rope_theta=1e6,
        greedy=True,
        old_config=True,
    ),
    Case(
        "rope_yarn_keys_f32",
        "yarn: attention_factor, betas, no truncation",
        21,
        **WIDE,
        rope={
            "rope_type": "yarn",
            "factor": 8.0,
            "original_max_position_embeddings": 32,
            "attention_factor": 0.8,
            "beta_fast": 4.0,
            "beta_slow": 0.5,
            "truncate": False,
        },
    ),
    Case(
        "rope_yarn_mscale_f32",
        "yarn: mscale and mscale_all_dim",
        22,
        **WIDE,
        rope={
            "rope_type": "yarn",
            "factor": 8.0,
            "original_max_position_embeddings": 32,
            "mscale": 1.4,
            "mscale_all_dim": 0.5,
        },
    ),
    Case(
        "rope_llama3_f32",
        "llama3 as Llama-3.1 has it",
        23,
        **WIDE,
        rope={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        rope_theta=500.0,
        greedy=True,
        old_config=True,
    ),
]

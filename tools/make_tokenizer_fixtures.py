#!/usr/bin/env python3
"""Makes tests/fixtures/tokenizers: small byte-level BPE tokenizers, and the ids that Hugging Face's
tokenizers gives with them.

    tools/make_tokenizer_fixtures.py [FOLDER]

Needs the package tokenizers; uses no network. The vocabulary is trained on the text below, and all
texts come from a fixed seed. Each folder has a tokenizer as models bring it, and

    cases.json   [[text, ids], [text, ids, decoded], ..]; decoded is left out where it is the text

Control tokens are not looked for in the texts (encode_special_tokens, that is) and not written by
decode.
"""

import dataclasses
import json
import os
import random
import shutil
import sys
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

from tokenizer_strings import texts

REPOSITORY = Path(__file__).resolve().parent.parent
MAX_TOTAL_BYTES = 200_000
CASES = 110
MERGES = 300

TEXT = """The little owl kept what it had read and let the rest of it go. Then it was asked about the rest.
There are two kinds of memory: the one that is full, and the one that has not been used for long.
"Don't you think," she'd said, "that we've room for one more? It's what they'll ask, and I'm sure
he'd say you're right." They were there, and there they weren't: other words, another weather.
When the wind winnows wheat, the chaff goes first; whatever is heavy stays where it was when it fell.
for (int i = 0; i < 10; ++i) { sum += values[i] * weights[i]; }   // the sum of all values
    return sum / 10;   def mean(values):   return sum(values) / len(values)
In 1984 there were 12345 of them, 3.14 a head; in 2024 it is 1,000,000 and 50 percent more.
Der Wind trägt die Spreu davon, und übrig bleibt, was schwer genug ist. Größe, Maß und Übung zählen.
Le vent emporte la paille; ce qui reste est ce qui pèse. Où étiez-vous, là-bas, près de la forêt?
Ветер уносит мякину, а тяжёлое зерно остаётся на месте. Что осталось, то и помнит маленькая сова.
Ο άνεμος παίρνει το άχυρο και μένει το σιτάρι. 風が籾殻を運び、重い穀物だけが残る。 风吹走糠，留下谷。
바람이 겨를 날리고 무거운 알곡만 남는다. हवा भूसा उड़ा ले जाती है। الريح تحمل القش بعيدا 😀👍🎉
""".replace(
    "  ", "   "
)

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Of every kind. The last ones meet in white space, and in normalization: U+AC00 is U+1100 U+1161.
ADDED = [
    AddedToken("<plain>", normalized=False),
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<right>", rstrip=True, normalized=False),
    AddedToken("<both>", lstrip=True, rstrip=True, normalized=True),
    AddedToken("word", single_word=True, normalized=False),
    AddedToken("_w", single_word=True, normalized=True),
    AddedToken("<plain><plain>", normalized=False),
    AddedToken("lai", normalized=True),
    AddedToken("\n\n\n", normalized=False),
    AddedToken("    ", normalized=True),
    AddedToken("\u1100\u1161", normalized=True),
    AddedToken("中国", normalized=False),
]
CONTROL = [
    AddedToken("<|begin|>", special=True),
    AddedToken("<|end|>", special=True),
    AddedToken("<|pad|>", special=True, lstrip=True, rstrip=True),
    AddedToken("|><", normalized=False),
]


README = """# Small tokenizers

Made by `tools/make_tokenizer_fixtures.py`, which needs no network, with tokenizers {version}. Not edited
by hand.

Each folder is a byte-level BPE of {size} pieces, trained on a text in that script, and `cases.json`:
texts, the ids that the package gives, and what it decodes them to where that is another text.

| folder | what it is about |
|---|---|
{rows}
"""


def split(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    about: str
    pre_tokenizer: pre_tokenizers.PreTokenizer
    ignore_merges: bool = False
    nfc: bool = False
    bos: bool = False
    added: bool = True
    pairs: bool = True  # how merges are written
    files: bool = False  # vocab.json and merges.txt instead of tokenizer.json
    config: dict | None = None


VARIANTS = [
    Variant(
        "llama3",
        "Llama-3's pattern, ignore_merges, merges as pairs, BOS by a template",
        split(LLAMA3),
        ignore_merges=True,
        bos=True,
    ),
    Variant(
        "llama3_merged",
        "Llama-3's pattern, form C, merges as strings",
        split(LLAMA3),
        pairs=False,
        nfc=True,
    ),
    Variant(
        "qwen2_files",
        "Qwen2's pattern, form C, vocab.json and merges.txt",
        split(QWEN2),
        nfc=True,
        files=True,
        config={"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|end|>", "bos_token": None},
    ),
    Variant(
        "gpt2",
        "GPT-2's pattern, ignore_merges, merges as strings, BOS by tokenizer_config.json",
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        pairs=False,
        ignore_merges=True,
        config={
            "eos_token": {"content": "<|end|>"},
            "bos_token": "<|begin|>",
            "add_bos_token": True,
        },
    ),
    Variant(
        "digits",
        "digits apart, GPT-2's pattern, form C, few added tokens",
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        ),
        nfc=True,
        added=False,
    ),
    Variant(
        "tekken",
        "Tekken's pattern, ignore_merges, few added tokens",
        split(TEKKEN),
        ignore_merges=True,
        added=False,
    ),
]


def trained():
    """Vocabulary and merges of TEXT. Some merges are taken out, so that their pieces come up only where
    merges are ignored."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split(GPT2)
    tokenizer.train_from_iterator(
        TEXT.splitlines(keepends=True),
        trainers.BpeTrainer(
            vocab_size=256 + MERGES,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    parts = {part for merge in merges for part in merge}
    unused = [merge for merge in merges if "".join(merge) not in parts]
    dropped = set(unused[::7])
    return model["vocab"], [merge for merge in merges if merge not in dropped]


def build(variant, vocab, merges):
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=variant.ignore_merges))
    tokenizer.pre_tokenizer = variant.pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    if variant.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(ADDED if variant.added else [])
    tokenizer.add_special_tokens(CONTROL[:3])
    tokenizer.add_tokens(CONTROL[3:])
    if variant.bos:
        begin = tokenizer.token_to_id("<|begin|>")
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single="<|begin|> $A",
                    pair="<|begin|> $A <|begin|> $B:1",
                    special_tokens=[("<|begin|>", begin)],
                ),
            ]
        )
    tokenizer.encode_special_tokens = True
    return tokenizer


def write_json(path, value):
    path.write_text(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )


def write_tokenizer(variant, tokenizer, folder):
    whole = json.loads(tokenizer.to_str())
    config = dict(variant.config or {})
    if variant.files:
        write_json(folder / "vocab.json", whole["model"]["vocab"])
        lines = [" ".join(merge) for merge in whole["model"]["merges"]]
        (folder / "merges.txt").write_text(
            "#version: 0.2\n" + "\n".join(lines) + "\n", encoding="utf-8"
        )
        config["added_tokens_decoder"] = {
            str(token.pop("id")): token for token in whole["added_tokens"]
        }
    else:
        if not variant.pairs:
            whole["model"]["merges"] = [" ".join(merge) for merge in whole["model"]["merges"]]
        write_json(folder / "tokenizer.json", whole)
    if config:
        write_json(folder / "tokenizer_config.json", config)


def case_of(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    return [text, ids] if decoded == text else [text, ids, decoded]


def cases_of(tokenizer, generator, count):
    pieces = [
        tokenizer.decode([i], skip_special_tokens=False) for i in range(tokenizer.get_vocab_size())
    ]
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return [
        case_of(tokenizer, text)
        for text in texts(generator, count, [p for p in pieces if "\ufffd" not in p], added)
    ]


def write_cases(path, cases):
    lines = [json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "tests/fixtures/tokenizers"
    shutil.rmtree(root, ignore_errors=True)
    vocab, merges = trained()
    for number, variant in enumerate(VARIANTS):
        folder = root / variant.name
        folder.mkdir(parents=True)
        tokenizer = build(variant, vocab, merges)
        write_tokenizer(variant, tokenizer, folder)
        write_cases(folder / "cases.json", cases_of(tokenizer, random.Random(number), CASES))
    rows = "\n".join(f"| `{variant.name}` | {variant.about} |" for variant in VARIANTS)
    (root / "README.md").write_text(
        README.format(version=tokenizers.__version__, size=len(vocab), rows=rows)
    )
    total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    print(f"{root}: {total} bytes")
    if total > MAX_TOTAL_BYTES:
        sys.exit(f"more than {MAX_TOTAL_BYTES}")


if __name__ == "__main__":
    main()

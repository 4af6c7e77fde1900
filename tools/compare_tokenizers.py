#!/usr/bin/env python3
"""Compares winnow's tokenizers with the packages tokenizers, transformers and sentencepiece on random
texts.

    tools/compare_tokenizers.py [--tests build/tests/winnow_tests] [--cases 20000] [--seed 1] [DIR ..]

Writes the texts and the packages' ids to a temporary folder and runs the test that reads them. Always
compared are the small tokenizers of make_tokenizer_fixtures.py; each DIR is a model's folder with any
of the files that winnow reads. Where that is not tokenizer.json, the package's way to make one of it
is taken, and winnow is compared with both. Uses no network.
"""

import argparse
import base64
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer

import make_tokenizer_fixtures as fixtures
from tokenizer_strings import texts

TEST = "tokenizers give the ids of other libraries"
LLAMA3_CONTROL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
]
LLAMA3_CONTROL += [f"<|reserved_special_token_{i}|>" for i in range(3, 248)]


def from_rank_file(path):
    from transformers.convert_slow_tokenizer import TikTokenConverter

    class Converter(TikTokenConverter):
        @staticmethod
        def load_tiktoken_bpe(name):
            lines = (line.split() for line in Path(name).read_bytes().splitlines())
            return {base64.b64decode(piece): int(rank) for piece, rank in lines}

    return Converter(str(path), extra_special_tokens=LLAMA3_CONTROL).converted()


def from_vocab_and_merges(folder):
    from transformers import GPT2Tokenizer, Qwen2Tokenizer

    config = folder / "tokenizer_config.json"
    name = json.loads(config.read_text()).get("tokenizer_class") if config.exists() else None
    with tempfile.TemporaryDirectory() as copy:
        for source, target in [
            ("encoder.json", "vocab.json"),
            ("vocab.bpe", "merges.txt"),
            ("vocab.json", "vocab.json"),
            ("merges.txt", "merges.txt"),
            ("tokenizer_config.json", "tokenizer_config.json"),
        ]:
            if (folder / source).exists():
                shutil.copyfile(folder / source, Path(copy) / target)
        kind = Qwen2Tokenizer if name == "Qwen2Tokenizer" else GPT2Tokenizer
        return kind.from_pretrained(copy).backend_tokenizer


def is_sentencepiece(folder):
    path = folder / "tokenizer.model"
    return path.exists() and path.read_bytes()[:1] == b"\n"


def write_sentencepiece_cases(source, folder, generator, count):
    """Ids only: winnow's decode is meant to differ (tokenizer/spm.h)."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(str(source / "tokenizer.model"))
    pieces = [model.decode([i]) for i in range(model.get_piece_size()) if not model.is_byte(i)]
    folder.mkdir()
    (folder / "tokenizer.model").symlink_to((source / "tokenizer.model").resolve())
    control = ["<s>", "</s>", "<unk>"]
    cases = [[text, model.encode(text), None] for text in texts(generator, count, pieces, control)]
    fixtures.write_cases(folder / "cases.json", cases)


def write_cases_of_folder(source, root, generator, count):
    if is_sentencepiece(source):
        write_sentencepiece_cases(source, root / source.name, generator, count)
        return
    if (source / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    elif (source / "tokenizer.model").exists():
        tokenizer = from_rank_file(source / "tokenizer.model")
    else:
        tokenizer = from_vocab_and_merges(source)
    tokenizer.encode_special_tokens = True
    cases = fixtures.cases_of(tokenizer, generator, count)

    as_given = root / source.name
    as_given.mkdir()
    for path in source.iterdir():
        (as_given / path.name).symlink_to(path.resolve())
    fixtures.write_cases(as_given / "cases.json", cases)
    if not (source / "tokenizer.json").exists():
        as_json = root / f"{source.name}_json"
        as_json.mkdir()
        tokenizer.save(str(as_json / "tokenizer.json"))
        fixtures.write_cases(as_json / "cases.json", cases)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR")
    parser.add_argument(
        "--tests", type=Path, default=fixtures.REPOSITORY / "build/tests/winnow_tests"
    )
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    vocab, merges = fixtures.trained()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        generator = random.Random(options.seed)
        for variant in fixtures.VARIANTS:
            folder = root / f"small_{variant.name}"
            folder.mkdir()
            tokenizer = fixtures.build(variant, vocab, merges)
            fixtures.write_tokenizer(variant, tokenizer, folder)
            cases = fixtures.cases_of(tokenizer, generator, options.cases)
            fixtures.write_cases(folder / "cases.json", cases)
        for source in options.folders:
            write_cases_of_folder(source, root, generator, options.cases)
        environment = dict(os.environ, WINNOW_TOKENIZER_CASES=name)
        command = [options.tests.resolve(), f"--test-case={TEST}"]
        sys.exit(subprocess.run(command, cwd=fixtures.REPOSITORY, env=environment).returncode)


if __name__ == "__main__":
    main()

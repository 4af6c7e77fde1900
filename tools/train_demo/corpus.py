"""The corpus: books, the tokenizer trained on them, and their tokens.

A corpus is one UTF-8 text, plain or packed with xz, of books that each begin with a line
`# Title: ...`. A text without such lines is cut into equal parts, which take the place of books.
Every 20th book is held out: the tokenizer, the lists of words and the model never see it.

`prepare` leaves all that it makes in one directory, and takes it from there the next time:

    tokenizer.model   sentencepiece, BPE with byte pieces: <unk> 0, <s> 1, </s> 2
    train.bin         uint16: <s>, a book's tokens, </s>, and so on
    held_out.bin      the same of the books held out
    held_out.json     which books, key words and value words were held out
    words.json        the words that training tasks are made of
"""

import collections
import dataclasses
import hashlib
import io
import json
import lzma
import multiprocessing
import re
import sys
from pathlib import Path

import numpy as np
import sentencepiece

BOS, EOS = 1, 2
MODEL = "tokenizer.model"
HEADING = re.compile(r"^# Title: *(.+)$", re.MULTILINE)
PARTS = 100  # of a text without headings
WORD = re.compile(r"(?<![\w'-])[a-z]{3,10}(?![\w'-])")  # a whole word of lower-case letters

# Value words: those of these ranks by frequency. More frequent ones are mostly "the" and "which".
FIRST_RANK, LAST_RANK = 200, 16_000
MOST_PIECES = 2  # that a value word which is held out may have

# One in so many is held out, and which one of them.
HELD_BOOK, HELD_KEY, HELD_VALUE = (20, 10), (8, 6), (10, 4)

ADJECTIVES = """
amber azure bitter brave brisk calm clever cold crimson curious dusty eager early faint fierce
frozen gentle giant golden grand green grey happy hidden hollow honest humble iron ivory jolly kind
late lazy little lonely loud lucky marble merry mild misty modest noble odd old pale patient plain
polite proud quick quiet rapid red royal rusty scarlet shy silent silver simple slow small solemn
stern strange sunny swift tall thin tidy tiny twin upper vain velvet violet warm weary wild wise
wooden young""".split()
NOUNS = """
anchor apple arrow badger baker barrel basket beacon bear bell bishop boat bridge broom bucket
candle captain carpet castle cat chair clock cloud coin compass cook copper crane crow crown doctor
dove dragon drum eagle engine falcon farmer feather ferry fiddle fisher flag flute forest fox garden
gate ghost goat goose grove hammer harbor hawk hermit hill horse hunter island jar judge kettle key
king knight ladder lake lamp lantern lion lock maple market mason meadow mill miner mirror monk moon
mouse mule nail needle nest oak ocean orchard otter owl painter palace parrot pearl pepper pilot
pine pirate poet pond prince quilt rabbit raven ribbon river road robin rope rose sailor scholar
ship shoe singer sparrow spider spoon spring stag stone storm stove swan table tailor temple tiger
torch tower tree trumpet turtle valley violin wagon wall watch weaver well whale wheel window wolf
wren""".split()


@dataclasses.dataclass(frozen=True)
class Book:
    title: str
    text: str
    begin: int  # bytes of the unpacked corpus with "\n" as line ends
    end: int
    held_out: bool


@dataclasses.dataclass(frozen=True)
class Words:
    """A key is "the ADJECTIVE NOUN", a value some words of `values`."""

    adjectives: list[str]
    nouns: list[str]
    values: list[str]

    def all(self) -> set[str]:
        return {*self.adjectives, *self.nouns, *self.values}


@dataclasses.dataclass(frozen=True)
class Corpus:
    tokenizer: sentencepiece.SentencePieceProcessor
    train: np.ndarray  # uint16 tokens
    held_out: np.ndarray
    words: Words  # for training
    held_out_words: Words


def read_text(path: Path) -> str:
    """The text, its lines ended by "\n" alone."""
    raw = path.read_bytes()
    text = (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_books(text: str) -> list[Book]:
    """The books one after another; they cover the text."""
    heads = [(m.start(), m.group(1).strip()) for m in HEADING.finditer(text)]
    if not heads:
        cuts = [text.rfind("\n", 0, len(text) * i // PARTS) + 1 for i in range(PARTS)]
        heads = [(cut, f"part {i}") for i, cut in enumerate(sorted(set(cuts)), 1)]
    starts = [0] + [start for start, _ in heads[1:]] + [len(text)]
    books, begin = [], 0
    for number, (_, title) in enumerate(heads, 1):
        body = text[starts[number - 1] : starts[number]]
        end = begin + len(body.encode("utf-8"))
        books.append(Book(title, body, begin, end, number % HELD_BOOK[0] == HELD_BOOK[1]))
        begin = end
    return books


def train_tokenizer(books: list[Book], vocab: int, sample_bytes: int, threads: int) -> bytes:
    """BPE over a sample of the training books' lines, spread evenly."""
    lines = [line for book in books if not book.held_out for line in book.text.split("\n") if line]
    stride = max(1, sum(map(len, lines)) // sample_bytes)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines[::stride]),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab,
        # What a text says is kept to the byte, newlines and runs of spaces too.
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        byte_fallback=True,
        split_digits=True,
        character_coverage=0.9998,
        max_sentence_length=1 << 16,
        num_threads=threads,
        minloglevel=2,
        unk_id=0,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=-1,
    )
    return model.getvalue()


def count_words(text: str) -> collections.Counter:
    return collections.Counter(WORD.findall(text))


def encode_book(task: tuple[bytes, str]) -> np.ndarray:
    model, text = task
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids: list[int] = []
    for line in io.StringIO(text):  # no piece holds a newline and more
        ids += tokenizer.encode(line)
    return np.array([BOS, *ids, EOS], dtype=np.uint16)


def held_out_of(words: list[str], rule: tuple[int, int]) -> list[str]:
    return [word for i, word in enumerate(words) if i % rule[0] == rule[1]]


def choose_words(counts: collections.Counter, tokenizer) -> tuple[Words, Words]:
    """Words for training and words held out: no word is in both, whatever it is used for."""
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[FIRST_RANK:LAST_RANK]
    short = [word for word in ranked if len(tokenizer.encode(" " + word)) <= MOST_PIECES]
    held = Words(
        held_out_of(ADJECTIVES, HELD_KEY),
        held_out_of(NOUNS, HELD_KEY),
        held_out_of([word for word in short if word not in {*ADJECTIVES, *NOUNS}], HELD_VALUE),
    )
    lists = (ADJECTIVES, NOUNS, ranked)
    return Words(*([word for word in words if word not in held.all()] for words in lists)), held


def held_out_report(path: Path, text: str, books: list[Book], held: Words) -> dict:
    raw = text.encode("utf-8")
    return {
        "corpus": path.name,  # offsets are those of its text with "\n" as line ends
        "corpus_bytes": len(raw),
        "corpus_sha256": hashlib.sha256(raw).hexdigest(),
        "books": [
            {"number": number, "title": book.title, "begin": book.begin, "end": book.end}
            for number, book in enumerate(books, 1)
            if book.held_out
        ],
        "key_adjectives": held.adjectives,
        "key_nouns": held.nouns,
        "value_words": held.values,
    }


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def build(path: Path, directory: Path, threads: int, make_tokenizer) -> None:
    text = read_text(path)
    books = split_books(text)
    model = make_tokenizer(books)
    with multiprocessing.Pool(threads) as pool:
        train_texts = [book.text for book in books if not book.held_out]
        counts = sum(pool.map(count_words, train_texts, chunksize=1), collections.Counter())
        tasks = ((model, book.text) for book in books)
        tokens = list(pool.imap(encode_book, tasks))
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model)
    words, held = choose_words(counts, tokenizer)

    directory.mkdir(parents=True, exist_ok=True)
    for name, held_out in (("train.bin", False), ("held_out.bin", True)):
        parts = [t for t, book in zip(tokens, books) if book.held_out == held_out]
        np.concatenate(parts).tofile(directory / name)
    write_json(directory / "words.json", dataclasses.asdict(words))
    write_json(directory / "held_out.json", held_out_report(path, text, books, held))
    (directory / MODEL).write_bytes(model)  # the last file: all others are there


def load(directory: Path) -> Corpus:
    held = json.loads((directory / "held_out.json").read_text(encoding="utf-8"))
    return Corpus(
        tokenizer=sentencepiece.SentencePieceProcessor(model_file=str(directory / MODEL)),
        train=np.memmap(directory / "train.bin", dtype=np.uint16, mode="r"),
        held_out=np.memmap(directory / "held_out.bin", dtype=np.uint16, mode="r"),
        words=Words(**json.loads((directory / "words.json").read_text(encoding="utf-8"))),
        held_out_words=Words(held["key_adjectives"], held["key_nouns"], held["value_words"]),
    )


def prepare(path: Path, directory: Path, vocab: int, sample_bytes: int, threads: int) -> Corpus:
    """The corpus at `path`, from `directory` if it was made there before."""
    if not (directory / MODEL).exists():
        build(
            path,
            directory,
            threads,
            lambda books: train_tokenizer(books, vocab, sample_bytes, threads),
        )
    return load(directory)


def prepare_with(tokenizer: Path, path: Path, directory: Path, threads: int) -> Corpus:
    """The same, but with a tokenizer that was trained before: a file."""
    model = tokenizer.read_bytes()
    if not (directory / MODEL).exists():
        build(path, directory, threads, lambda books: model)
    elif (directory / MODEL).read_bytes() != model:
        sys.exit(f"corpus: {directory} was made with another tokenizer than {tokenizer}")
    return load(directory)

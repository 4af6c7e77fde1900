"""What the model is trained on: sequences of book text, most of them with something to recall.

A document is plain text, or a text that ends with questions about what stands in it:

    needles   " The secret name of the silver lantern is river garden stone. " somewhere in a book,
              alone or among others with keys or kinds that are alike
    list      lines "the silver lantern: river garden stone", nothing else
    chain     secrets that are said to be the same as others
    copy      a passage of a book, to be repeated word for word

    "\\nQuestion: What is the secret name of the silver lantern?\\nAnswer: river garden stone."

Every token has a weight in the loss: answers count most, what nobody can foresee (a secret where it
is told, the question's choice) next to nothing.
"""

import dataclasses
import random
import re

import numpy as np

from corpus import BOS, EOS, Words

# Weights in the loss.
TEXT, ANSWER, COPIED, QUESTION, FACT, LINE, NOTHING = 1.0, 6.0, 2.0, 0.3, 0.2, 0.1, 0.0

WITHOUT_BOS = 0.1  # share of documents
PACKED = 0.3  # share of sequences that hold several documents
MOST_PACKED = 4096  # tokens; longer sequences hold one document
SHORTEST = 128  # tokens of a document
SHARES = {"text": 0.2, "needles": 0.54, "list": 0.1, "chain": 0.1, "copy": 0.06}

KINDS = ["name", "name", "name", "name", "word", "motto", "message", "number"]
VALUE_LENGTHS = [1, 2, 3, 3, 3, 3, 4, 4, 5, 6, 7, 8]
# What the words of a value are. Only where they can be anything is it learnt to copy, and not which
# words are answers.
SOURCES = {"listed": 0.45, "text": 0.2, "span": 0.15, "invented": 0.2}
# Share of documents whose values share a few words, in any order: what follows a word there depends
# on whose value it is, and not on the word before it alone.
SHARED_WORDS = 0.5
LISTED_KEYS = 0.6  # share of keys that are made of the lists' adjectives and nouns
POOL_TOKENS = 300_000  # of book text, for "text" and "span"
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*[A-Za-z]")
AROUND_FACT = [(" ", " "), ("\n", "\n"), ("\n\n", "\n\n"), (" ", "\n"), ("\n", " ")]


@dataclasses.dataclass(frozen=True)
class Secret:
    kind: str  # name, word, number...
    key: str  # "the silver lantern"
    value: str  # "river garden stone"

    def fact(self) -> str:
        return f"The secret {self.kind} of {self.key} is {self.value}."

    def question(self) -> str:
        return f"\nQuestion: What is the secret {self.kind} of {self.key}?\nAnswer:"


class Tokens:
    """Tokens and their weights, as they are put together."""

    def __init__(self) -> None:
        self.ids: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        self.length = 0

    def add(self, ids, weight) -> None:
        """`weight` is one for all, or one for each."""
        self.ids.append(np.asarray(ids, dtype=np.int32))
        self.weights.append(np.broadcast_to(np.float32(weight), (len(ids),)))
        self.length += len(ids)

    def join(self, other: "Tokens") -> None:
        self.ids += other.ids
        self.weights += other.weights
        self.length += other.length

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self.ids), np.concatenate(self.weights)


class TaskMaker:
    """Makes sequences. The same random state gives the same sequence. Keys and values are made of
    `words`, but for training of much else beside them, in which none of `unseen` occurs."""

    def __init__(self, tokenizer, stream: np.ndarray, words: Words, unseen: set[str] | None):
        self.tokenizer = tokenizer
        self.stream = stream  # tokens of books
        self.words = words
        self.unseen = unseen  # None: not for training
        self.newline = tokenizer.piece_to_id("<0x0A>")
        self.shared: list[str] = []  # words that the values of a document have in common
        pool = self.window(min(POOL_TOKENS, len(stream) - 1024), random.Random(0))
        self.pool = [w for w in WORD.findall(tokenizer.decode(pool.tolist())) if self.may_see(w)]
        pieces = (tokenizer.id_to_piece(i).lstrip("\u2581") for i in range(len(tokenizer)))
        self.syllables = sorted({p for p in pieces if p.isascii() and p.isalpha() and p.islower()})

    def sequence(self, n: int, r: random.Random) -> tuple[np.ndarray, np.ndarray]:
        """n tokens, int32, and their weights, float32."""
        tokens = Tokens()
        if n <= MOST_PACKED and r.random() < PACKED:
            while (room := n - tokens.length) >= 2 * SHORTEST:
                length = int(SHORTEST * (room / SHORTEST) ** r.random())  # log-uniform
                tokens.join(self.document(length, r))
        room = n - tokens.length
        tokens.join(self.document(room, r) if room >= SHORTEST else self.text(room, r))
        return tokens.arrays()

    def document(self, n: int, r: random.Random) -> Tokens:
        """n tokens of a kind drawn from SHARES."""
        kind = r.choices(list(SHARES), list(SHARES.values()))[0]
        tokens = Tokens()
        if r.random() >= WITHOUT_BOS:
            tokens.add([BOS], NOTHING)
        n -= tokens.length
        tokens.join(getattr(self, kind)(n, r))
        return tokens

    # ------------------------------------------------------------------ parts of documents

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def window(self, n: int, r: random.Random) -> np.ndarray:
        """n tokens of a book, half of the times from the beginning of a line on."""
        start = r.randrange(0, len(self.stream) - n - 512)
        if r.random() < 0.5:
            ends = np.flatnonzero(self.stream[start : start + 512] == self.newline)
            start += int(ends[0]) + 1 if len(ends) else 0
            while self.stream[start] == self.newline:
                start += 1
        return self.stream[start : start + n].astype(np.int32)

    def may_see(self, word: str) -> bool:
        return self.unseen is None or word.lower() not in self.unseen

    def key(self, r: random.Random, like: str | None = None) -> str:
        """A key; one that shares a word with `like`."""
        adjective, noun = r.choice(self.words.adjectives), r.choice(self.words.nouns)
        if self.unseen is not None and r.random() >= LISTED_KEYS:
            adjective, noun = r.choice(self.words.values), r.choice(self.pool)
        if like is not None:
            _, its_adjective, its_noun = like.split()
            adjective, noun = r.choice([(its_adjective, noun), (adjective, its_noun)])
        return f"the {adjective} {noun}"

    def value(self, kind: str, r: random.Random, n_words: int | None = None) -> str:
        if kind == "number":
            return "".join(r.choice("0123456789") for _ in range(r.randint(3, 7)))
        return " ".join(self.value_words(n_words or r.choice(VALUE_LENGTHS), r))

    def share_words(self, count: int, r: random.Random) -> None:
        """Chooses the words that `count` values are to share, or none."""
        self.shared = []
        if self.unseen is not None and count > 1 and r.random() < SHARED_WORDS:
            self.shared = self.value_words(r.randint(3, 3 + count), r)

    def value_words(self, n: int, r: random.Random) -> list[str]:
        if self.shared:
            return r.choices(self.shared, k=n)
        source = r.choices(list(SOURCES), list(SOURCES.values()))[0]
        if self.unseen is None or source == "listed":
            return r.choices(self.words.values, k=n)
        if source == "text":
            return r.choices(self.pool, k=n)
        if source == "span":
            start = r.randrange(len(self.pool) - n)
            return self.pool[start : start + n]
        return [self.invented(r) for _ in range(n)]

    def invented(self, r: random.Random) -> str:
        while True:
            word = "".join(r.choices(self.syllables, k=r.choice([1, 1, 1, 2, 2, 3])))
            if self.may_see(word):
                return word

    def secrets(self, count: int, r: random.Random, n_words: int | None = None) -> list[Secret]:
        """Secrets that no question confuses; half of the times some are much like the first."""
        self.share_words(count, r)
        alike = r.random() < 0.5
        found: dict[tuple[str, str], Secret] = {}
        while len(found) < count:
            kind = r.choice(KINDS) if n_words is None else "name"
            first = next(iter(found.values()), None)
            key = self.key(r, first.key if alike and first and r.random() < 0.5 else None)
            if n_words is None and alike and first and r.random() < 0.2:
                key = first.key  # the same key's secret of another kind
            found.setdefault((kind, key), Secret(kind, key, self.value(kind, r, n_words)))
        return list(found.values())

    def ask(self, secrets: list[Secret]) -> Tokens:
        """Questions and answers; the document ends after them."""
        tokens = Tokens()
        for secret in secrets:
            tokens.add(self.encode(secret.question()), QUESTION)
            tokens.add(self.encode(f" {secret.value}."), ANSWER)
        tokens.add([EOS], TEXT)
        return tokens

    def hide(self, body: np.ndarray, weight: float, facts: list[str], r: random.Random) -> Tokens:
        """The body with the facts at random places, half of the times at ends of lines."""
        ends = np.flatnonzero(body == self.newline) if r.random() < 0.5 else []
        places = ends if len(ends) >= len(facts) else range(len(body) + 1)
        tokens, done = Tokens(), 0
        for place, fact in zip(sorted(r.choices(places, k=len(facts))), facts):
            before, after = r.choice(AROUND_FACT)
            tokens.add(body[done:place], weight)
            tokens.add(self.encode(before + fact + after), FACT)
            done = int(place)
        tokens.add(body[done:], weight)
        return tokens

    def haystack(self, n: int, r: random.Random) -> tuple[np.ndarray, float]:
        """Text to hide in, and its weight: a book, or now and then one passage over and over."""
        if r.random() >= 0.1:
            return self.window(n, r), TEXT
        return np.resize(self.window(r.randint(16, 160), r), n), NOTHING

    def with_facts(self, n: int, facts: list[str], tail: Tokens, r: random.Random) -> Tokens:
        """n tokens: text with facts in it, and the tail. Facts that find no place push it out."""
        room = n - tail.length - sum(len(self.encode(f"\n\n{fact}\n\n")) for fact in facts)
        body, weight = self.haystack(max(room, 0), r)
        tokens = self.hide(body, weight, facts, r)
        # Facts between spaces are shorter than reckoned: text makes up for it.
        missing = n - tail.length - tokens.length
        if missing > 0:
            tokens.add(self.window(missing, r), weight)
        tokens.join(tail)
        return self.cut(tokens, n)

    def cut(self, tokens: Tokens, n: int) -> Tokens:
        """The last n tokens."""
        ids, weights = tokens.arrays()
        cut = Tokens()
        cut.add(ids[-n:], weights[-n:])
        return cut

    # ------------------------------------------------------------------ kinds of documents

    def text(self, n: int, r: random.Random) -> Tokens:
        tokens = Tokens()
        ids = self.window(n, r)
        tokens.add(ids, np.where(ids == BOS, NOTHING, TEXT))
        return tokens

    def needles(self, n: int, r: random.Random) -> Tokens:
        most = max(1, n // 128)
        # Long documents tell and ask more: their answers are few among so many tokens.
        secrets = self.secrets(
            min(r.choice([1, 2, 4, 8, 16] if n < 8192 else [8, 16, 32]), most), r
        )
        n_asked = r.choice([1, 2, 4, 8] if n < 8192 else [8, 16])
        asked = r.sample(secrets, min(len(secrets), n_asked, max(1, most // 2)))
        return self.with_facts(n, [s.fact() for s in secrets], self.ask(asked), r)

    def list(self, n: int, r: random.Random) -> Tokens:
        """As many lines as there is room for; then questions about some of them."""
        tokens, found = Tokens(), {}
        self.share_words(n // 16, r)
        room = n - max(64, min(256, n // 4))  # the rest is for questions
        while True:
            key = self.key(r)
            secret = Secret("name", key, self.value("name", r, r.choice([1, 2, 3, 3, 4])))
            line = self.encode(f"\n{key}: {secret.value}")
            if tokens.length + len(line) > room:
                break
            if found.setdefault(key, secret) is secret:
                tokens.add(line, LINE)
        asked: list[Secret] = []
        while found and tokens.length + self.ask(asked).length < n:
            asked.append(r.choice(list(found.values())))
        tail = self.ask(asked[:-1] or asked)
        missing = n - tokens.length - tail.length
        start = Tokens()
        if missing > 0:
            start.add(self.window(missing, r), TEXT)
        start.join(tokens)
        start.join(tail)
        return self.cut(start, n)

    def chain(self, n: int, r: random.Random) -> Tokens:
        """A secret, and keys that have the same, one after another; a second chain beside it."""
        links = r.choice([1, 1, 2, 2, 3]) if n >= 512 else 1
        secrets = self.secrets(2 * (links + 1), r, r.choice([1, 2, 3, 3, 4]))
        facts: list[str] = []
        asked: list[Secret] = []
        for chain in (secrets[: links + 1], secrets[links + 1 :]):
            facts.append(chain[0].fact())
            for earlier, later in zip(chain, chain[1:]):
                facts.append(
                    f"The secret name of {later.key} is the same as that of {earlier.key}."
                )
            asked.append(dataclasses.replace(chain[-1], value=chain[0].value))
        r.shuffle(asked)
        if n < 512:
            facts, asked = facts[: links + 1], [a for a in asked if a.key == secrets[links].key]
        return self.with_facts(n, facts, self.ask(asked), r)

    def copy(self, n: int, r: random.Random) -> Tokens:
        """The announcement keeps what is learnt here from making plain text go in circles."""
        passage = self.window(min(r.choice([16, 32, 64, 128]), n // 4), r)
        passage = passage[(passage != BOS) & (passage != EOS)]
        before, after = self.encode("\n\nPassage:\n"), self.encode("\n\n")
        tail = Tokens()
        tail.add(self.encode("\nQuestion: What does the passage say?\nAnswer:\n"), QUESTION)
        tail.add(passage, COPIED)
        tail.add([EOS], TEXT)
        room = n - tail.length - len(before) - len(passage) - len(after)
        body, place = self.window(room, r), r.randint(0, room)
        tokens = Tokens()
        tokens.add(body[:place], TEXT)
        tokens.add(before, QUESTION)
        tokens.add(passage, TEXT)
        tokens.add(after, QUESTION)
        tokens.add(body[place:], TEXT)
        tokens.join(tail)
        return tokens

    # ------------------------------------------------------------------ to be measured on

    def needle_case(
        self, n: int, depth: float, count: int, n_words: int, r: random.Random
    ) -> tuple[np.ndarray, str]:
        """A prompt of n tokens with BOS, the asked needle at `depth` in [0, 1], and its answer.
        The other needles lie anywhere."""
        secrets = self.secrets(count, r, n_words)
        facts = [self.encode(f"\n{secret.fact()}\n") for secret in secrets]
        question = self.encode(secrets[0].question())
        body = self.window(n - 1 - len(question) - sum(map(len, facts)), r)
        places = [int(depth * len(body))] + [r.randint(0, len(body)) for _ in facts[1:]]
        parts, done = [[BOS]], 0
        for place, fact in sorted(zip(places, facts)):
            parts += [body[done:place], fact]
            done = place
        parts += [body[done:], question]
        return np.concatenate(parts).astype(np.int64), secrets[0].value

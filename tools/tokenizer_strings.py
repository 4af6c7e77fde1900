"""Random texts on which tokenizers disagree if they disagree anywhere.

Every generator takes a random.Random and gives one text. Characters that came after Unicode 3.2 are
left out, but for emoji: libraries have tables of different ages, and would rightly disagree.
"""

import unicodedata

SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\x0b",
    "\x0c",
    "\x85",
    "\xa0",
    "\u1680",
    "\u180e",
    "\u2003",
    "\u2028",
    "\u2029",
    "\u202f",
    "\u205f",
    "\u3000",
    "\u200b",
    "\u200d",
    "\ufeff",
]
APOSTROPHES = [
    "'s",
    "'S",
    "'\u017f",
    "'t",
    "'re",
    "'Re",
    "'VE",
    "'ve",
    "'m",
    "'ll",
    "'lL",
    "'d",
    "\u2019s",
    "'",
    "''",
    "'x",
    "'ss",
]
WORDS = [
    "a",
    "the",
    "The",
    "BIG",
    "don",
    "Hello",
    "world",
    "caf\xe9",
    "cafe\u0301",
    "\u017f",
    "ΟΔΟΣ",
    "привет",
    "中文",
    "日本語",
    "한국",
    "\u1112\u1161\u11ab",
    "हिन्दी",
    "العربية",
    "กำลัง",
    "ﬁne",
    "x_y",
]
NUMBERS = [
    "1",
    "12",
    "123",
    "1234",
    "12345",
    "3.14",
    "\xbd",
    "\xb2",
    "Ⅻ",
    "٣٤٥",
    "१२",
    "①",
    "1,000",
]
SIGNS = [
    "!",
    "?!",
    "...",
    "-",
    "--",
    "_",
    "(",
    ")]",
    "/",
    "//",
    "\\",
    "#",
    "$%",
    "=>",
    "«",
    "»",
    "…",
    "€",
    "😀",
    "👩\u200d🚀",
    "🇩🇪",
    "❤\ufe0f",
    "<",
    ">",
    "|",
    "<|x|>",
    "\u0301",
    "\u0327\u0301",
    "\0",
]

_EMOJI = [*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F6C6)]


def _is_stable(code):
    return unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs", "Co")


STABLE = [code for code in range(0x110000) if _is_stable(code)] + _EMOJI
# Most characters are ideographs or syllables: others would hardly come up.
_RARE = [code for code in STABLE if not 0x3400 <= code < 0xD7B0 and code < 0x20000]
_MARKS = [code for code in STABLE if unicodedata.combining(chr(code))]


def apostrophes(random):
    kinds = [APOSTROPHES, SPACES, WORDS]
    return "".join(random.choice(random.choice(kinds)) for _ in range(random.randint(1, 8)))


def spaces(random):
    parts = [
        random.choice(SPACES) * random.choice([1, 1, 2, 5]) for _ in range(random.randint(1, 6))
    ]
    parts.insert(random.randint(0, len(parts)), random.choice(WORDS + SIGNS + NUMBERS))
    return "".join(parts)


def mixture(random):
    kinds = [SPACES, APOSTROPHES, WORDS, WORDS, NUMBERS, SIGNS, [" "]]
    return "".join(random.choice(random.choice(kinds)) for _ in range(random.randint(0, 14)))


def code_point(random):
    c = chr(random.choice(random.choice([STABLE, _RARE])))
    return random.choice([c, f"a{c}b", f" {c}", f"{c} {c}{c}1", f"1{c}\n{c}", f"'{c}s {c}"])


def code_points(random):
    pool = random.choice([STABLE, _RARE, _RARE, range(0x250)])
    return "".join(chr(random.choice(pool)) for _ in range(random.randint(1, 20)))


def marks(random):
    letters = "aeouAnḍ\u1112\u1161\u11a8가ά\u0344क"
    out = ""
    for _ in range(random.randint(1, 6)):
        marks_on_it = [chr(random.choice(_MARKS)) for _ in range(random.randint(0, 4))]
        out += random.choice(letters) + "".join(marks_on_it)
    return out


def repeats(random):
    return random.choice(
        ["a", " ", "\n", "ab", "=", "1", "é", "aA", " a", "!!\n"]
    ) * random.randint(1, 70)


GENERATORS = [apostrophes, spaces, mixture, code_point, code_points, marks, repeats]


def texts(random, count, pieces=(), added=()):
    """`count` texts by all generators, with words of `pieces` and the contents `added` among them."""

    def vocabulary_words(random):
        return "".join(random.choice(pieces) for _ in range(random.randint(1, 8)))

    def added_tokens(random):
        kinds = [added, added, SPACES, WORDS, SIGNS, [" ", "", "a", "_"]]
        return "".join(random.choice(random.choice(kinds)) for _ in range(random.randint(1, 9)))

    generators = GENERATORS + [vocabulary_words] * bool(pieces) + [added_tokens] * bool(added)
    return [random.choice(generators)(random) for _ in range(count)]

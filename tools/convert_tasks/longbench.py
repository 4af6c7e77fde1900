"""Converts LongBench (arXiv 2308.14508, THUDM/LongBench), version 1 and LongBench-E.

FILE is a dataset's file of the published data: JSON lines with input, context, answers and
dataset. --prompts and --lengths name dataset2prompt.json and dataset2maxlen.json in the config
folder of a checkout of LongBench.

The prompt is split after {context}; the template's text before it goes with the context. Metrics
are those of LongBench's eval.py; three things are not quite the same:

- Classification (trec, lsht) becomes contains_any. LongBench gives 1/n to an answer that names n
  classes, the right one among them; here it is right.
- Retrieval becomes count, with the paragraph's number as the answer.
- Where LongBench takes an answer's first line, "\\n" is a stop text. Line breaks before that line,
  which LongBench passes over, end the answer here.

Chinese datasets that are scored over words found by jieba are refused.
"""

import argparse
import re
from pathlib import Path

from task_file import MAX_TOKENS, Record, Task, fail, parse_object, read_bytes, shown
from template import parse_template

METRICS = {
    "narrativeqa": "f1",
    "qasper": "f1",
    "multifieldqa_en": "f1",
    "hotpotqa": "f1",
    "2wikimqa": "f1",
    "musique": "f1",
    "gov_report": "rouge_l",
    "qmsum": "rouge_l",
    "multi_news": "rouge_l",
    "trec": "contains_any",
    "triviaqa": "f1",
    "samsum": "rouge_l",
    "lsht": "contains_any",
    "passage_retrieval_en": "count",
    "passage_retrieval_zh": "count",
    "passage_count": "count",
    "lcc": "edit_sim",
    "repobench-p": "edit_sim",
}
JIEBA = ("multifieldqa_zh", "dureader", "vcsum")
FIRST_LINE = ("trec", "triviaqa", "samsum", "lsht")
PARAGRAPH = re.compile(r"(?:Paragraph |段落)([0-9]+)")


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--prompts", type=Path, required=True, metavar="JSON", help="dataset2prompt.json")
    add("--lengths", type=Path, required=True, metavar="JSON", help="dataset2maxlen.json")
    add("--whole", action="store_true", help="keep each prompt in one piece")


class Converter:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.prompts = parse_object(read_bytes(arguments.prompts), arguments.prompts, 1)
        self.lengths = parse_object(read_bytes(arguments.lengths), arguments.lengths, 1)

    def convert(self, record: Record) -> Task:
        name = record.text("dataset")
        if name in JIEBA:
            record.refuse(f"{name} is scored over Chinese words as jieba finds them, not done here")
        if name not in METRICS:
            record.refuse(f"{shown(name)} is no dataset of LongBench that is known here")
        values = {"input": record.text("input"), "context": record.text("context")}
        template = parse_template(self.prompt_of(name), f"{self.arguments.prompts}: {name}")
        prompt = template.prompt(values, ("input",), record)
        return Task(
            name=name,
            prompt=prompt.joined() if self.arguments.whole else prompt,
            answers=answers_of(record, name),
            metric=METRICS[name],
            max_tokens=self.length_of(name),
            stop=("\n",) if name in FIRST_LINE else (),
        )

    def prompt_of(self, name: str) -> str:
        prompt = self.prompts.get(name)
        if not isinstance(prompt, str):
            fail(self.arguments.prompts, f"has no prompt for {name}")
        return prompt

    def length_of(self, name: str) -> int:
        length = self.lengths.get(name)
        is_whole = isinstance(length, int) and not isinstance(length, bool)
        if not is_whole or not 1 <= length <= MAX_TOKENS:
            fail(self.arguments.lengths, f"has no length from 1 to {MAX_TOKENS} for {name}")
        return length


def answers_of(record: Record, name: str) -> list[str]:
    answers = record.texts("answers")
    if not name.startswith("passage_retrieval"):
        return answers
    found = [PARAGRAPH.match(answer) for answer in answers]
    if None in found:
        record.fail("an answer does not name a paragraph")
    return [match[1] for match in found]

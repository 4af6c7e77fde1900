"""Converts the test cases of LongEval (DachengLi1/LongChat, longeval/evaluation).

FILE is N_lines.jsonl, with prompt and expected_number, or N_topics.jsonl, with prompt and topics.
The tasks are longeval_lines and longeval_topics. No chat template is put around the prompt.

An answer about lines is right if it contains the number; LongEval asks that its last number be it.
An answer about topics is right if it contains the first topic, letter by letter; LongEval has a
model judge whether the answer means it.

With --split the question is, for lines, the prompt's last line, and for topics what follows the
record, from its last "Now the record ends." on.
"""

import argparse

from task_file import Prompt, Record, Task

LINE, RECORD_END = "line ", " Now the record ends."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split", action="store_true", help="split each prompt into context and question"
    )


class Converter:
    def __init__(self, arguments: argparse.Namespace):
        self.split = arguments.split

    def convert(self, record: Record) -> Task:
        if "topics" in record.fields:
            return self.convert_topics(record)
        if "expected_number" in record.fields:
            return self.convert_lines(record)
        record.fail("has neither 'expected_number' nor 'topics'")

    def convert_lines(self, record: Record) -> Task:
        text = record.text("prompt")
        number = record.get("expected_number")
        if not isinstance(number, int) or isinstance(number, bool):
            record.fail("'expected_number' is not a whole number")
        cut = text.rfind("\n", 0, len(text.rstrip())) + 1 if self.split else 0
        if self.split and (cut == 0 or text.startswith(LINE, cut)):
            record.fail("no question comes after the last line: nothing to --split")
        prompt = Prompt(text[:cut], text[cut:])
        return Task("longeval_lines", prompt, [str(number)], "contains", max_tokens=100)

    def convert_topics(self, record: Record) -> Task:
        text = record.text("prompt")
        topics = record.texts("topics")
        cut = text.rfind(RECORD_END) if self.split else 0
        if cut < 0:
            record.fail(f"'prompt' has no {RECORD_END.strip()!r}: nothing to --split")
        prompt = Prompt(text[:cut], text[cut:])
        return Task("longeval_topics", prompt, topics[:1], "contains", max_tokens=50)

#!/usr/bin/env python3
"""Converts the files of long-context benchmarks to one task file.

    tools/convert_tasks/convert.py {longbench,ruler,longeval,helmet} FILE... -o OUT.jsonl [options]

What a task file holds is told in task_file.py, what is made of a benchmark's files by
`convert.py BENCHMARK --help`. A wrong file ends it with one line, "convert: FILE:LINE: what", and
exit code 6, a wrong command line with exit code 2; OUT.jsonl then stays what it was.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

import helmet
import longbench
import longeval
import ruler
from task_file import USAGE, ConvertError, TaskWriter, fail, read_records, replaced

# Each has add_options(parser), and Converter(arguments), whose convert(record) makes a task, or
# None of what the benchmark leaves out too.
BENCHMARKS = {"longbench": longbench, "ruler": ruler, "longeval": longeval, "helmet": helmet}
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConvertError(USAGE, message)


def parse_arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    about, _, details = __doc__.partition("\n\n")
    parser = Parser(description=about, epilog=details, formatter_class=raw)
    commands = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, module in BENCHMARKS.items():
        about, _, details = module.__doc__.partition("\n\n")
        command = commands.add_parser(
            name, help=about, description=about, epilog=details, formatter_class=raw
        )
        add = command.add_argument
        add("files", type=Path, nargs="+", metavar="FILE", help="what the benchmark published")
        add("-o", "--out", type=Path, required=True, metavar="OUT.jsonl", help="the task file")
        module.add_options(command)
    return parser.parse_args()


def convert(arguments: argparse.Namespace) -> dict[str, int]:
    """Writes the task file; returns how many tasks of each name it holds."""
    config = [vars(arguments).get(name) for name in ("prompts", "lengths")]
    for path in [*arguments.files, *filter(None, config)]:
        if os.path.realpath(path) == os.path.realpath(arguments.out):
            raise ConvertError(USAGE, f"{path}: is to be read and written")
    converter = BENCHMARKS[arguments.benchmark].Converter(arguments)
    with replaced(arguments.out) as file:
        writer = TaskWriter(file)
        for path in arguments.files:
            for record in read_records(path):
                task = converter.convert(record)
                if task is not None:
                    writer.add(task, record)
        if not writer.counts:
            fail(arguments.files[0], "no record is to be taken")
    return writer.counts


def one_line(text: str) -> str:
    """`text` with what a terminal does not print escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def main() -> None:
    try:
        counts = convert(parse_arguments())
    except ConvertError as error:
        print(f"convert: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    for name, count in counts.items():
        print(f"{name}: {count} {'task' if count == 1 else 'tasks'}")


if __name__ == "__main__":
    main()

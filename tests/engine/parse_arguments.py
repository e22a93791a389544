"""Parses command lines with vLLM's own argument parser. Runs under the engine's interpreter.

Standard input is JSON, {name: [words]}. The last line of standard output is JSON, {name: {option: value}}, with the
value of every option as vLLM reads it.
"""

import dataclasses
import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser


def show(value: object) -> object:
    """What JSON has no form for: dataclasses by their fields, the rest as text."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)


read = {}
for name, words in json.load(sys.stdin).items():
    parser = make_arg_parser(FlexibleArgumentParser())
    print(f"parsing {name}", file=sys.stderr)
    options = parser.parse_args(words)
    validate_parsed_serve_args(options)
    read[name] = vars(options)
print(json.dumps(read, default=show))

"""vLLM's own argument parser over command lines: JSON {name: [words]} on stdin; under the engine's interpreter."""

import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

for name, words in json.load(sys.stdin).items():
    parser = make_arg_parser(FlexibleArgumentParser())
    print(f"parsing {name}", file=sys.stderr)
    validate_parsed_serve_args(parser.parse_args(words))
print("all parsed")

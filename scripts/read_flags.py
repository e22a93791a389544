"""Print the flags of vLLM's API server, one per line: `ENGINE/bin/python scripts/read_flags.py`.

The engine's own interpreter runs this. Its output belongs in src/remuda/vllm/flags/VERSION.txt, and a test compares the
two. src/remuda/vllm/flags.py says what each kind of flag takes.
"""

import argparse
import json

from vllm import __version__  # type: ignore[import-not-found]
from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found]
from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

HEAD = f"# Flags of vLLM {__version__.partition('+')[0]}'s API server: name, kind, choices. By scripts/read_flags.py."
KINDS = {
    "int": "int",
    "float": "float",
    "human_readable_int": "amount",
    "human_readable_int_or_auto": "amount",
    "loads": "json",
    "parse_dataclass": "mapping",
    "union_dict_and_str": "any",
}


def main() -> None:
    """Print all flags in the order of their names."""
    lines = [line for action in make_arg_parser(FlexibleArgumentParser())._actions for line in describe(action)]  # noqa: SLF001
    print("\n".join([HEAD, *sorted(lines)]))


def describe(action: argparse.Action) -> list[str]:
    """One line for each long name. The negative form of a switch gets none."""
    if isinstance(action, argparse._HelpAction):  # noqa: SLF001
        return []
    switch = isinstance(action, argparse.BooleanOptionalAction)
    names = [name.removeprefix("--") for name in action.option_strings if name.startswith("--")]
    kind = "switch" if switch else "bare" if action.nargs == 0 else describe_type(action.type)
    kind = "folded" if folds(action) else kind
    many = "+" if action.nargs in {"+", "*"} else ""
    choices = [str(choice) for choice in action.choices or () if choice is not None]
    return [" ".join([name, kind + many, *choices]) for name in names if not (switch and name.startswith("no-"))]


def folds(action: argparse.Action) -> bool:
    """Whether vLLM takes its choices in capitals and with dashes, too."""
    names = [choice for choice in action.choices or () if isinstance(choice, str)]
    return bool(names) and callable(action.type) and all(action.type(bend(name)) == name for name in names)


def bend(name: str) -> str:
    """A name in capitals and with dashes."""
    return name.upper().replace("_", "-")


def describe_type(kind: object) -> str:
    """The kind of a value by the function that parses it, which vLLM may wrap in `optional_type` or `parse_type`."""
    name = getattr(kind, "__name__", "")
    if name in {"_optional_type", "_parse_type"}:
        cells = getattr(kind, "__closure__", ())
        return describe_type(next(cell.cell_contents for cell in cells if callable(cell.cell_contents)))
    return "json" if kind is json.loads else KINDS.get(name, "text")


if __name__ == "__main__":
    main()

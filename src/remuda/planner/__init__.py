"""Does a well-formed file make sense? Checks over fields and hardware, before anything is started, downloaded or
rented.

Pure: a model and facts in, problems out. Does not know: files and positions (`place_problems` asks the loader for
them), or how to fix anything by itself.
Called by: `remuda validate`, `remuda up`, and whoever accepts models in a cluster.
"""

from remuda.planner.blocks import explain_block_size
from remuda.planner.checks import PlanError, check, check_all, place_problems
from remuda.planner.situation import Situation, Variant, describe_situation

__all__ = [
    "PlanError",
    "Situation",
    "Variant",
    "check",
    "check_all",
    "describe_situation",
    "explain_block_size",
    "place_problems",
]

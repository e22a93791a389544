"""Facts about the world outside, each with its source and date: GPUs, and the parsers each engine version brings.

Data are TOML files beside the readers. Does not know: models, or what follows from the facts (`planner` does).
Called by: `planner`, and commands that list what there is.
"""

from remuda.catalog.gpus import Gpu, find_gpu, list_gpus, suggest_gpus
from remuda.catalog.parsers import Parsers, find_parsers

__all__ = ["Gpu", "Parsers", "find_gpu", "find_parsers", "list_gpus", "suggest_gpus"]

"""Facts with source and date: the GPU products, and the parsers that each version of vLLM has.

The data are TOML files beside the readers. This package does not know models or what follows from the facts.
"""

from remuda.catalog.gpus import Gpu, find_gpu, list_gpus, suggest_gpus
from remuda.catalog.parsers import Parsers, find_parsers

__all__ = ["Gpu", "Parsers", "find_gpu", "find_parsers", "list_gpus", "suggest_gpus"]

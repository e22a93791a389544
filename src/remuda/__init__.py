"""Remuda puts open LLMs into production with vLLM: one file, from a laptop to a Kubernetes fleet."""

__version__ = "0.1.0"

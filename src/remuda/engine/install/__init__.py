"""vLLM's own environment on this machine: which build suits it, how it is built, what is installed, its removal."""

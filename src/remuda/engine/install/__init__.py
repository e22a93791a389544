"""The environments of vLLM on this machine: which build suits it, building, what is installed, removal."""

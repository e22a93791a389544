"""Benchmarks of the gateway beside its rivals: `python -m benchmarks.run`. See README.md here."""

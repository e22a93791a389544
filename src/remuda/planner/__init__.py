"""Checks whether well-formed documents make sense, before anything is downloaded, rented or started.

The checks compare fields with each other, with hardware and with the model's config.json. They are pure: documents and
facts in, problems out. They start nothing and change no document.
"""

from remuda.planner.checks import PlanError, check, check_all
from remuda.planner.facts import Variant

__all__ = ["PlanError", "Variant", "check", "check_all"]

"""Inputs to begin with: ordinary ones, ones that parsers are known to disagree about, and everything ever found."""

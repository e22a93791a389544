"""Turns YAML text into checked documents, or into every problem of the text with file, line and column."""

"""One module for each command of `remuda`. Each exports a click command named `command`."""

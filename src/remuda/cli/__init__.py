"""The command line. It parses arguments, calls other packages and prints; it decides nothing."""

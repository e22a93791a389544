"""This machine: processes, locks, files, ports, control groups, GPUs and CPU cores; each fact is read in one place.

The modules know Linux and nothing of models, engines, gateways or fleets.
"""

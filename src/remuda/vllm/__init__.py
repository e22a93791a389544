"""vLLM's dialect, per version: arguments, routes, client fields, metric names, markers.

Pure values and functions: no process is started and no socket is opened here. The engine package renders
command lines from it, the gateway forwards by it, the simulator and the manifests will read the same tables.
"""

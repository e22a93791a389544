"""What Remuda knows of each version of vLLM: arguments, flags, routes, client fields, metrics, and failure messages.

Everything here is pure: values and functions of values. No process is started and no socket is opened.
"""

"""Metrics and logs of every process of Remuda.

metrics      the declaration of every metric
exposition   values as Prometheus text or OpenMetrics
figures      values that another process counted
process      CPU time, memory and file descriptors of this process
logs         log lines and access lines, with secrets masked
reference    the page docs/reference/metrics.md
"""

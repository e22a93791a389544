"""What can be seen of a running Remuda: metrics, logs, and the reference page of the metrics.

metrics      every metric declared once, and the cheap counters behind them
exposition   values to Prometheus text or OpenMetrics
logs         JSON or human lines, secrets masked
reference    docs/reference/metrics.md
"""

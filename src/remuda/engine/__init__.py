"""One vLLM engine as a supervised process: its environment, weights, plan, start, diagnosis and drain.

The package does not know fleets or gateways.
"""

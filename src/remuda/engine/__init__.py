"""One vLLM engine as a supervised process: its environment, weights, arguments, start, watch, drain.

Does not know fleets or gateways; `fleet` builds plans and engines from here.
"""

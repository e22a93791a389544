"""The run-time decisions, as functions of values.

outcome   how a request can end: exactly one of these, the metric label and the log field
route     which engine takes a request
health    which engines may be picked at all: suspicion, ejection, recovery
retry     whether a failed try may be repeated, and the budget that keeps retries from burying the rest
hung      whether an engine that says it is well has stopped working

No clock, socket, client or logger: the time is an argument. The gateway, the engine supervisor and (later) the
operator and the simulator call the same functions, so what is simulated is what runs.
"""

"""The run-time decisions, as functions of values.

outcome   how a request can end: exactly one of these, the metric label and the log field
route     which engine takes a request
health    which engines may be picked: suspicion, ejection, recovery
retry     whether a failed attempt may be repeated, and the budget that bounds all retries
blame     whether an engine or the request itself is at fault when an attempt fails
fit       which model takes a request that names none
split     which of several models takes the next request to their common name
hung      whether an engine that says it is well has stopped working

No clock, socket, client or logger: the time is an argument. Everything that decides at run time calls these functions,
so a simulator runs the same decisions.
"""

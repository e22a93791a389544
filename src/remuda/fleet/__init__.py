"""`remuda up`: the engines and the gateway of this machine, supervised as one fleet.

plan → show → apply: `plan` decides what will run, `supervisor` carries it out, `control` lets `status` and `down` ask.
The package knows nothing of terminals; it emits `reporting.events`.
"""

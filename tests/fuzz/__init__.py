"""A fuzzer that compares the gateway's parsers with those of the engine's server.

    python -m tests.fuzz --seconds 600                  # every target, one after the other
    python -m tests.fuzz --seconds 600 --target requests --seed 7

The rule for what a client sends: whatever the gateway accepts, every oracle that accepts it reads alike. So the gateway
refuses whatever two oracles read differently. What an engine sends is judged by the rules in `answers`.

Everything is derived from the seed, so a run can be repeated. An input that breaks a rule is printed as a Python
literal and becomes an entry of the corpus, which is checked entry by entry in `test_fuzz`.
"""

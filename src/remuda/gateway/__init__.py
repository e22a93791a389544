"""The data path: listen, authenticate, choose an engine, forward, relay, account.

Start reading at `flow.py`: the life of a request. Then

    listen, request_head, request_body   one client connection: bytes to a checked request, and back-pressure
    exchange, waiting                    one request and its answer; how its coroutine is driven without tasks
    resolve, ask, access                 which route, which model, what may be asked by whom
    engines, upstream, forward, relay    which engine, its connections, what it is sent, how its answer goes back
    health, sweeper, ledger              the slow ticks: probes, deadlines, metrics and the access log
    table, settings, app, control        what it is given, and by whom

It declares what it needs (`app.TableSource`) and is given it; it knows neither files nor Kubernetes nor processes.
"""

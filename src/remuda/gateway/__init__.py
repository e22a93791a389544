"""The data path. Start reading at `flow.py`: the life of a request.

    http       the client's side of the wire: connections, heads, bodies, deadlines; knows no model, key or engine
    upstream   the engines' side of the wire: connections, pools, request and answer heads; knows no client
    api        what is asked: routes, the fields that matter, translations, error bodies
    access     who asks: keys, tenants, admission, browsers
    serving    who answers: live models and engines, health, choice, forward, relay, pages
    record     what happened: one record per request, counters, access log

It declares what it needs (`app.TableSource`) and is given it; it knows neither files nor Kubernetes nor processes.
"""

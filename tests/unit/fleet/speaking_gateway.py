"""A double of the gateway process: it speaks the control protocol and answers every chat with one word.

It appends the lines it receives to the file named in SAID. MODE makes it misbehave: it `refuses` to start, `dies`,
`babbles` (its first line is no event), `hangs` instead of ending, or is `silent` (it sends no heartbeats). Except with
`hangs`, it ends with its supervisor.
"""

import contextlib
import http.server
import json
import os
import socket
import sys
import threading
from collections.abc import Callable

MODE = os.environ.get("MODE", "")
BEAT_S = 0.02


class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for piece in (
            {"choices": [{"delta": {"content": "Hello."}}]},
            {"choices": [], "usage": {"completion_tokens": 2}},
        ):
            self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def do_GET(self) -> None:
        body = b'remuda_requests_total{model="demo",route="chat",outcome="completed"} 7\n'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def beat(say: Callable[[dict[str, object]], None], ended: threading.Event) -> None:
    """Send heartbeats. The lines are so short that the kernel does not split them between two threads."""
    with contextlib.suppress(OSError):
        while not ended.wait(BEAT_S):
            say({"event": "alive"})


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[-1]))
    lines = channel.makefile("rb")

    def say(message: dict[str, object]) -> None:
        channel.sendall(json.dumps(message).encode() + b"\n")

    settings = json.loads(lines.readline())["settings"]
    if MODE == "refuses":
        say({"event": "problem", "message": "cannot read the certificate: /nowhere", "hint": "check the path"})
        sys.exit(1)
    if MODE == "dies":
        sys.exit(3)
    if MODE == "babbles":
        channel.sendall(b'["no event"]\n')
        threading.Event().wait()
    server = http.server.ThreadingHTTPServer((settings["listen"]["host"], settings["listen"]["port"]), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say({"event": "listening", "port": server.server_address[1]})
    ended = threading.Event()
    if MODE != "silent":
        threading.Thread(target=beat, args=(say, ended), daemon=True).start()
    for line in lines:
        with open(os.environ["SAID"], "ab") as said:
            said.write(line)
    if MODE == "hangs":
        threading.Event().wait()
    ended.set()
    say({"event": "drained"})


main()

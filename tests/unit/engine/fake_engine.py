"""A double of vLLM. It prints log lines, answers the supervisor's requests, and misbehaves as its argument says.

python fake_engine.py BEHAVIOUR --port N …      (behaviours below; standard library only)
"""

import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends when a test run is killed

behaviour = sys.argv[1]
port = int(sys.argv[sys.argv.index("--port") + 1])
names = os.environ.get("FAKE_NAMES", "fake").split(",")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/v1/models" and "FAKE_MODELS" in os.environ:
            self.answer_text(pathlib.Path(os.environ["FAKE_MODELS"]).read_text())
        elif self.path == "/v1/models":
            self.answer({"data": [{"id": name, "max_model_len": 2048} for name in names]})
        elif self.path == "/version":
            self.answer({"version": "0.32.0"})
        else:
            self.answer_text('vllm:cache_config_info{block_size="32",kv_cache_size_tokens="768"} 1.0\n')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if behaviour == "no-token":
            self.answer({"error": {"message": "not yet"}}, 500)
        else:
            self.answer({"choices": [{"text": "x"}]})

    def answer(self, value: object, status: int = 200) -> None:
        self.answer_text(json.dumps(value), status)

    def answer_text(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def serve() -> None:
    print("Using max model len 2048", flush=True)
    print("Loading safetensors checkpoint shards:  50% Completed | 1/2\rLoading weights took 0.01 seconds", flush=True)
    print("CPU KV cache size: 768 tokens", flush=True)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError:
        if behaviour == "late":  # vLLM binds its port a minute after its start
            time.sleep(600)
        raise

    def drain(*_: object) -> None:
        if behaviour != "never-drains":
            threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, drain)
    if behaviour == "dies-after-ready":
        threading.Timer(0.3, os._exit, [0]).start()
    if behaviour == "leaves-a-child":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        threading.Timer(0.3, os._exit, [0]).start()
    if behaviour == "leaves-an-escaped-child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        pathlib.Path(os.environ["FAKE_MARK"]).write_text(str(child.pid))
        threading.Timer(0.3, os._exit, [0]).start()
    socket.socket(socket.AF_UNIX).bind(f"{os.environ['VLLM_RPC_BASE_PATH']}/{uuid.uuid4()}")
    print("INFO: Application startup complete.", flush=True)
    server.serve_forever()


match behaviour:
    case "port-taken" if not os.path.exists(os.environ["FAKE_MARK"]):
        open(os.environ["FAKE_MARK"], "w").close()
        sys.exit("OSError: [Errno 98] Address already in use")
    case "hangs":
        time.sleep(600)
    case "says":
        print(os.environ["FAKE_SAYS"], flush=True)
        sys.exit(int(os.environ.get("FAKE_STATUS", "1")))
    case "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    case _:
        serve()

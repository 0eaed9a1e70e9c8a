"""
Stands in for vLLM in the tests of the crew: logs as it does, is healthy after a while, and dies.

``python vllmlike.py serve MODEL --port N ...``. The model's folder decides what it does: a file
``dies`` in it ends the start with vLLM's own words.
"""

import http.server
import json
import os
import sys
from pathlib import Path

argv = sys.argv
folder = Path(argv[2])
port = int(argv[argv.index("--port") + 1])
names = argv[
    argv.index("--served-model-name") + 1 : argv.index("--disable-access-log-for-endpoints")
]


def log(level: str, text: str) -> None:
    print(f"(APIServer pid=1) {level} 11-21 16:00:00 [api_server.py:1] {text}", flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    """Health, the models, an echo of what it was started with, and a way to end it."""

    def do_GET(self) -> None:
        if self.path == "/die":
            log("ERROR", "RuntimeError: CUDA error: an illegal memory access was encountered")
            os._exit(1)
        body = {"data": [{"id": name, "owned_by": "vllm"} for name in names]}
        if self.path == "/echo":
            gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
            body = {"argv": argv, "token": os.environ.get("HF_TOKEN"), "gpus": gpus}  # type: ignore[dict-item]
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing: only what the tests look for is printed."""


log("INFO", "vLLM API server version 0.32.0")
if (folder / "dies").exists():
    log("ERROR", "ValueError: No available memory for the cache blocks.")
    sys.exit(1)
log("WARNING", "Triton is not installed.")
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()

"""A search server that does whatever it is told to, e.g. fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    faults: list[Any]
    asked: list[Any]

    def log_message(self, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        fault = self.faults.pop(0) if self.faults else None
        fault = GOOD if fault is None else fault
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "cut":
            self.send_response(200)
            self.send_header("content-length", "100")
            self.end_headers()
            self.wfile.write(b'{"result"')
            return
        status, content = (fault, {"detail": "no\x1b[31m"}) if isinstance(fault, int) else (200, fault)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


GOOD = {"result": [[{"document": {"id": 3, "contents": "x\ny", "more": 1}, "score": 1}]]}


@contextmanager
def faulty(*faults: Any) -> Iterator[tuple[str, list[Any]]]:
    """Its address, and what it is asked. A fault is what one request gets: a status, an answer, or None for hits."""
    asked: list[Any] = []
    handler = type("Bound", (Handler,), {"faults": list(faults), "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()

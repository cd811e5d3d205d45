"""Start and stop `imprint search serve`: a real process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class SearchServer:
    """A server of the index in `folder`; started again, it has the port that it had before."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder, self.options = folder, options
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "imprint.cli", "search", "serve", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *map(str, self.options)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "/retrieve" in line, line
        self.port = int(line.rsplit(":", 1)[1].removesuffix("/retrieve\n"))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> tuple[int, str]:
        """End it as a system does; its status and what it said."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=60)
        return self.process.returncode, said

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return str(response.read().decode())

    def post(self, body: bytes) -> tuple[int, Any]:
        """The status and the answer to any bytes."""
        request = urllib.request.Request(self.url + "/retrieve", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

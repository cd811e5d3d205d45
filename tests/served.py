"""Start and stop the servers that the tests of endpoints talk to: real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = Path(__file__).with_name("chat_server.py")
OPTIONS = {"max_turns": 24, "train": 6, "validation": 6, "test": 12}


class ExpertServer:
    """`chat_server.py` in a process of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.log = folder / "asked.jsonl"
        self.fixed = {"log": str(self.log), "options": OPTIONS}
        self.process: subprocess.Popen[str] | None = None
        self.port = 0
        self.start(**settings)

    def start(self, **settings: Any) -> None:
        """Start it, on the port that it had before if there was one."""
        content = json.dumps({**self.fixed, "port": self.port, **settings})
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), content], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def set(self, **settings: Any) -> None:
        """Other settings, an empty log, and the count of requests at 0."""
        self.log.unlink(missing_ok=True)
        body = json.dumps({**self.fixed, **settings}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/settings", body):
            pass

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self) -> list[dict[str, Any]]:
        """What was answered, and would have been billed."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

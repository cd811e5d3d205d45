"""A server process that speaks OpenAI's chat completions: an expert in household games, with faults on demand.

    python chat_server.py '{"log": "asked.jsonl", ...}'

prints its port, and serves until it is killed; a POST to /settings gives it other settings. It remembers nothing: what
it says to a conversation depends on the conversation alone, so one that is started again goes on where it was. Every
answer is logged before it is sent, which is what a provider would bill.

Settings:
    log: a file; one line per answer: {"id": a hash of the whole request, "read", "said": words, "messages"}.
    port: 0 for any.
    options: of the household world.
    split: whose games it knows.
    needs: {family: skill}; without that skill's page the games of the family are not solved.
    key: refuse requests without it.
    faults: {n: fault} for the n-th chat request of this process; see `Handler.misbehave`.
    always: a fault for all of them.
    fits: prompts of more words do not fit the context.
    forgets: of more messages than this only the last is read, and nothing is said of that.
    usage: false to count no tokens.
    models: a fault for the list of models.
    wrong_model: the name of the only model there is.

A fault is a name, or an object: {"message", "finish"} is an answer with that message, in which COMMAND stands for what
the expert would say; {"status", "body", "headers"} is sent as it is, the body in Latin-1 so that it can be any bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imprint.envs.household.expert import expert_command
from imprint.envs.household.world import HouseholdWorld
from imprint.types import Task

COMMAND = re.compile(r"<action>(.*?)</action>", re.DOTALL)
LOCK = threading.Lock()


class Expert:
    """Says what to do next in any conversation about a game it knows."""

    def __init__(self, world: HouseholdWorld, split: str, needs: dict[str, str]) -> None:
        self.world = world
        self.needs = needs
        self.tasks = {world.environment().reset(task, 0).observation: task for task in world.tasks(split)}
        assert len(self.tasks) == len(world.tasks(split))

    def answer(self, messages: list[dict[str, str]]) -> str:
        task = self.task_of(messages[0]["content"])
        environment = self.world.environment()
        environment.reset(task, 0)
        for message in messages[1:]:
            found = COMMAND.findall(message["content"])  # thoughts may hold some before it
            if message["role"] == "assistant":
                environment.step(found[-1] if found else "")
        page = self.needs.get(task.category)
        knows = page is None or f"## Skill: {page}\n" in messages[0]["content"]
        command = expert_command(environment.engine) if knows else "look"
        return f"<think>Next.</think><action>{command}</action>"

    def task_of(self, message: str) -> Task:
        return next(task for observation, task in self.tasks.items() if observation in message)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    settings: dict[str, Any]
    expert: Expert
    asked = 0

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.refuses_key():
            return
        if "models" in self.settings:
            self.stage(self.settings["models"])
            return
        model = self.settings.get("wrong_model", "expert")
        self.send(200, {"object": "list", "data": [{"id": model, "object": "model"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/settings":
            Handler.settings, Handler.asked, self.expert.needs = request, 0, request.get("needs", {})
            self.send(200, {})
            return
        with LOCK:
            Handler.asked += 1
            number = Handler.asked
        if self.refuses_key():
            return
        fault = self.settings.get("always") or self.settings.get("faults", {}).get(str(number))
        path = urlsplit(self.path).path  # as a proxy it is asked for the whole address
        if path != "/v1/chat/completions" or request["model"] != self.settings.get("wrong_model", "expert"):
            self.send(
                404, {"error": {"message": f"The model `{request['model']}` does not exist", "code": "not_found"}}
            )
        elif fault is None or not self.misbehave(fault, request):
            self.answer(request, self.expert.answer(request["messages"]))

    def refuses_key(self) -> bool:
        key = self.settings.get("key")
        refused = key is not None and self.headers.get("Authorization") != f"Bearer {key}"
        if refused:
            given = self.headers.get("Authorization", "none")
            self.send(401, {"error": {"message": f"Incorrect API key provided: {given}", "code": "invalid_api_key"}})
        return refused

    def stage(self, fault: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/json", **fault.get("headers", {})}
        self.send_bytes(fault.get("status", 200), fault["body"].encode("latin-1"), headers)

    def misbehave(self, fault: str | dict[str, Any], request: dict[str, Any]) -> bool:
        """Do what `fault` says; whether that was all."""
        if isinstance(fault, dict) and "message" in fault:
            command = COMMAND.search(self.expert.answer(request["messages"]))
            assert command is not None
            message = json.loads(json.dumps(fault["message"]).replace("COMMAND", command[1]))
            self.answer(request, message.pop("content", None), fault.get("finish", "stop"), **message)
        elif isinstance(fault, dict):
            self.stage(fault)
        elif fault == "429":
            self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.02"})
        elif fault == "later":
            self.send(429, {"error": {"message": "come back tomorrow"}}, {"Retry-After": "86400"})
        elif fault == "quota":
            self.send(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
        elif fault == "500":
            self.send(500, {"error": {"message": "out of memory"}})
        elif fault == "400":
            self.send(400, {"error": {"message": "unknown parameter: seed"}})
        elif fault == "filter":
            self.send(400, {"error": {"message": "the content was filtered", "code": "content_filter"}})
        elif fault == "drop":
            self.close_connection = True
        elif fault == "malformed":
            self.send_bytes(200, b'{"choices": [{"message": {"content": "<action>lo')
        elif fault == "no_choices":
            self.send(200, {"choices": []})
        elif fault == "slow":
            time.sleep(3)
            return False
        elif fault == "die":
            os._exit(9)
        elif fault == "empty":
            self.answer(request, None, "stop")
        elif fault == "refusal":
            self.answer(request, None, "stop", refusal="I cannot help with kitchens.")
        elif fault == "cut":
            self.answer(request, "<think>Let me think about", "length")
        elif fault == "thoughts_apart":
            text = self.expert.answer(request["messages"])
            self.answer(request, text.split("</think>")[1], "stop", reasoning_content="Next.")
        else:
            raise ValueError(fault)
        return True

    def answer(self, request: dict[str, Any], text: Any, finish: str | None = "stop", **more: Any) -> None:
        read = sum(len(message["content"].split()) for message in request["messages"])
        if read > self.settings.get("fits", read):
            message = f"This model's maximum context length is {self.settings['fits']} tokens. Your prompt has {read}."
            self.send(400, {"error": {"message": message, "code": "context_length_exceeded"}})
            return
        if len(request["messages"]) > self.settings.get("forgets", 1000):
            read = len(request["messages"][-1]["content"].split())
        said = len(text.split()) if isinstance(text, str) else 0
        usage = {
            "prompt_tokens": read,
            "completion_tokens": said,
            "prompt_tokens_details": {"cached_tokens": read // 2},
        }
        message = {"role": "assistant", "content": text, **more}
        content = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
        if self.settings.get("usage", True):
            content["usage"] = usage
        identity = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        with LOCK, Path(self.settings["log"]).open("a", encoding="utf-8") as log:
            row = {
                "id": identity,
                "seed": request.get("seed"),
                "read": read,
                "said": said,
                "messages": request["messages"],
            }
            log.write(json.dumps(row) + "\n")
        self.send(200, content)

    def send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        self.send_bytes(status, json.dumps(content).encode(), headers)

    def send_bytes(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    settings = json.loads(sys.argv[1])
    world = HouseholdWorld(**settings.get("options", {}))
    Handler.settings = settings
    Handler.expert = Expert(world, settings.get("split", "test"), settings.get("needs", {}))
    server = ThreadingHTTPServer(("127.0.0.1", settings.get("port", 0)), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

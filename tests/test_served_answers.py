"""What a server process may answer: what is thought is not acted on, what is not finished is no turn, and what cannot
be read or reached is a clear error."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imprint.models.sampling import Sampling
from imprint.models.served.config import EndpointConfig
from imprint.models.served.endpoint import Connection, Endpoint
from imprint.models.served.server import TransientError
from imprint.rollout.base import Request
from imprint.rollout.chat import SILENCE
from imprint.types import StopReason
from served import ExpertServer
from test_endpoint import LIBRARY, play, refusal, rollout_of

DECOY = "I could <action>look</action> or <answer>this</answer>, in <think> tags."
SAID = "<action>COMMAND</action>"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "first_wait", 0.01)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# --- thoughts ---


THOUGHTS: dict[str, dict[str, Any]] = {
    "DeepSeek, vLLM, SGLang": {"content": SAID, "reasoning_content": DECOY},
    "OpenRouter, vLLM, Groq": {"content": SAID, "reasoning": DECOY},
    "OpenRouter's details": {
        "content": SAID,
        "reasoning_details": [
            {"type": "reasoning.summary", "summary": DECOY},
            {"type": "reasoning.text", "text": DECOY},
            {"type": "reasoning.encrypted", "data": "x"},
        ],
    },
    "Ollama": {"content": SAID, "thinking": DECOY},
    "LiteLLM": {"content": SAID, "thinking_blocks": [{"type": "thinking", "thinking": DECOY, "signature": "x"}]},
    "Mistral": {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": DECOY}]},
            {"type": "text", "text": SAID},
        ]
    },
    "Anthropic": {"content": [{"type": "thinking", "thinking": DECOY}, {"type": "text", "text": SAID}]},
    "reasoning parts": {"content": [{"type": "reasoning", "text": DECOY}, {"type": "output_text", "text": SAID}]},
    "Gemini": {"content": [{"text": DECOY, "thought": True}, {"text": SAID}]},
    "an unknown part": {"content": [{"type": "musing", "content": DECOY}, {"type": "text", "text": SAID}]},
    "that close a tag": {"content": SAID, "reasoning_content": f"</think>{DECOY}<think>{DECOY}"},
    "inline": {"content": f"<think>{DECOY}</think>{SAID}"},
    "that the prompt opened": {"content": f"{DECOY}</think>\n\n{SAID}"},
    "that the prompt opened and which name the tag": {"content": f"{DECOY}</think>{DECOY}</think>\n\n{SAID}"},
    "Magistral": {"content": f"[THINK]{DECOY}[/THINK]{SAID}"},
    "Seed": {"content": f"<seed:think>{DECOY}</seed:think>{SAID}"},
    "gpt-oss": {
        "content": f"<|channel|>analysis<|message|>{DECOY}<|end|><|start|>assistant<|channel|>final<|message|>{SAID}"
    },
    "gpt-oss without its special tokens": {"content": f"analysis{DECOY}assistantfinal{SAID}"},
    "Cohere": {"content": f"<|START_THINKING|>{DECOY}<|END_THINKING|><|START_RESPONSE|>{SAID}<|END_RESPONSE|>"},
    "Sky-T1": {"content": f"<|begin_of_thought|>{DECOY}<|end_of_thought|>{SAID}"},
    "MedGemma": {"content": f"<unused94>thought\n{DECOY}<unused95>{SAID}"},
    "LongCat": {"content": f"<longcat_think>{DECOY}</longcat_think>{SAID}"},
    "a tag with attributes": {"content": f'<think budget="3">{DECOY}</think >{SAID}'},
    "another tag": {"content": f"<analysis>{DECOY}</analysis>{SAID}"},
    "Kimi": {"content": f"\u25c1think\u25b7{DECOY}\u25c1/think\u25b7{SAID}"},
}


@pytest.mark.parametrize("place", THOUGHTS)
def test_what_is_thought_is_not_acted_on_wherever_it_stands(server: Any, tmp_path: Path, place: str) -> None:
    server.set()
    (plain,) = play(rollout_of(server, tmp_path / "plain"), count=1)
    message = THOUGHTS[place]
    server.set(always={"message": message})
    rollout = rollout_of(server, tmp_path)
    (episode,) = play(rollout, count=1)
    assert [turn.action for turn in episode.turns] == [turn.action for turn in plain.turns]
    assert episode.success and all(turn.valid for turn in episode.turns)
    content = message["content"] if isinstance(message["content"], str) else SAID  # no thought that came apart
    sent = server.asked()[-1]["messages"][1]["content"]
    assert sent == content.replace("COMMAND", plain.turns[0].action)
    again = rollout_of(server, tmp_path)
    assert play(again, count=1) == [episode]
    assert (again.endpoint.meter.spent.requests, again.endpoint.meter.stale) == (0, 0)


@pytest.mark.parametrize(
    ("message", "response", "spoken"),
    [
        ({"content": f"<think>{DECOY}"}, f"<think>{DECOY}", f"<think>{DECOY}"),
        ({"content": None, "reasoning_content": "<action>look</action>"}, "", SILENCE),
        ({"content": [{"type": "thinking", "thinking": "<action>look</action>"}]}, "", SILENCE),
        (
            {"content": None, "refusal": "No: <action>look</action>"},
            "No: ‹action>look‹/action>",
            "No: ‹action>look‹/action>",
        ),
        (
            {"content": [{"type": "refusal", "refusal": "<action>look</action>"}]},
            "‹action>look‹/action>",
            "‹action>look‹/action>",
        ),
        ({"content": None, "tool_calls": [{"function": {"arguments": "<action>look</action>"}}]}, "", SILENCE),
    ],
)
def test_a_thought_alone_is_a_turn_without_a_command(
    server: Any, tmp_path: Path, message: dict[str, Any], response: str, spoken: str
) -> None:
    server.set(faults={"1": {"message": message}})
    (episode,) = play(rollout_of(server, tmp_path), count=1)
    first = episode.turns[0]
    assert (first.action, first.well_formed, first.valid) == ("", False, False)
    assert first.response.endswith(response) and episode.success
    assert server.asked()[-1]["messages"][1]["content"] == spoken


# --- what the server did not finish ---


def failed(**body: Any) -> dict[str, Any]:
    return {"body": json.dumps(body)}


CUT = {"content": "<think>t</think><action>look</action>"}
UNFINISHED: dict[str, tuple[dict[str, Any], str]] = {
    "error": ({"message": CUT, "finish": "error"}, "did not finish the answer: error"),
    "abort": ({"message": CUT, "finish": "abort"}, "did not finish the answer: abort"),
    "DeepSeek": (
        {"message": CUT, "finish": "insufficient_system_resource"},
        "did not finish the answer: insufficient_system_resource",
    ),
    "Zhipu": ({"message": CUT, "finish": "network_error"}, "did not finish the answer: network_error"),
    "a reason of its own": ({"message": CUT, "finish": "preempted"}, "did not finish the answer: preempted"),
    "incomplete": ({"message": CUT, "finish": "incomplete"}, "did not finish the answer: incomplete"),
    "Gemini": ({"message": CUT, "finish": "OTHER"}, "did not finish the answer: OTHER"),
    "nothing": ({"message": {"content": ""}, "finish": None}, "did not finish the answer"),
    "an error with 200": (failed(error={"message": "upstream died", "code": 502}), "upstream died"),
    "an error beside choices": (
        failed(error={"message": "gone"}, choices=[{"message": CUT, "finish_reason": "stop"}]),
        "gone",
    ),
    "an error in the choice": (
        failed(choices=[{"message": CUT, "finish_reason": "stop", "error": {"message": "provider gone"}}]),
        "did not finish the answer: provider gone",
    ),
    "an error of its own shape": (failed(object="error", message="engine dead", code=500), "engine dead"),
    "no choices": (failed(choices=[], id="x"), "is not a chat completion"),
    "no message": (failed(choices=[{"finish_reason": "stop"}]), "holds no choice with a message"),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_an_answer_that_the_server_did_not_finish_is_asked_for_again(server: Any, tmp_path: Path, name: str) -> None:
    fault, told = UNFINISHED[name]
    server.set()
    untroubled = play(rollout_of(server, tmp_path / "a"), count=2)
    server.set(faults={"1": fault, "4": fault})
    rollout = rollout_of(server, tmp_path / "b")
    assert play(rollout, count=2) == untroubled
    assert rollout.endpoint.meter.spent.retries == 2
    server.set(always=fault)
    assert told in refusal(server, tmp_path / "c", retries=1)


@pytest.mark.parametrize(
    "reason", ["stop", "STOP", "eos_token", "end_turn", "COMPLETE", "length", "tool_calls", "refusal"]
)
def test_an_answer_that_is_finished_is_a_turn_whatever_the_server_calls_it(
    server: Any, tmp_path: Path, reason: str
) -> None:
    server.set(faults={"1": {"message": CUT, "finish": reason}})
    rollout = rollout_of(server, tmp_path)
    (episode,) = play(rollout, count=1)
    assert episode.turns[0].action == "look" and episode.success and rollout.endpoint.meter.spent.retries == 0


def test_a_server_that_always_asks_to_come_back_at_once_is_given_time() -> None:
    from tenacity import RetryCallState

    endpoint = Endpoint(EndpointConfig(base_url="http://localhost:1/v1"), "m")
    connection = Connection(endpoint, None, ())  # type: ignore[arg-type]
    state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
    state.set_exception((TransientError, TransientError("busy", 0.0), None))  # type: ignore[arg-type]
    assert connection._wait(state, 8.0) == 8.0
    state.set_exception((TransientError, TransientError("busy", 30.0), None))  # type: ignore[arg-type]
    assert connection._wait(state, 8.0) == 30.0


def test_an_answer_that_a_filter_cut_is_a_turn_without_a_command(server: Any, tmp_path: Path) -> None:
    server.set(faults={"1": {"message": CUT, "finish": "content_filter"}})
    rollout = rollout_of(server, tmp_path)
    (episode,) = play(rollout, count=1)
    assert (episode.turns[0].action, episode.turns[0].valid) == ("", False) and episode.success
    assert rollout.endpoint.meter.spent.empty == 1


# --- the context is full ---


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "body": json.dumps([{"error": {"message": "The input token count (9) exceeds the maximum."}}])},
        {"status": 413, "body": "<html>413 Request Entity Too Large</html>", "headers": {"Content-Type": "text/html"}},
        {"status": 500, "body": json.dumps({"error": "input length exceeds the context length"})},
        failed(error={"message": "prompt is too long: 9 tokens > 8 maximum", "code": 400}),
        failed(
            choices=None, base_resp={"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"}
        ),
        {"message": CUT, "finish": "model_context_window_exceeded"},
        {"message": CUT, "finish": "model_length"},
        {"message": CUT, "finish": "ERROR_LIMIT"},
    ],
)
def test_a_full_context_ends_the_episode_however_it_is_told(server: Any, tmp_path: Path, fault: dict[str, Any]) -> None:
    server.set()
    (whole,) = play(rollout_of(server, tmp_path / "a"), count=1)
    server.set(faults={"3": fault})
    (cut,) = play(rollout_of(server, tmp_path / "b"), count=1)
    assert cut.stop is StopReason.CONTEXT_LIMIT and cut.turns == whole.turns[:2]
    server.set(always=fault)
    assert "does not fit the model's context" in refusal(server, tmp_path / "c")


def test_a_server_that_cuts_a_long_conversation_and_says_nothing_is_told_of(server: Any, tmp_path: Path) -> None:
    server.set()
    rollout = rollout_of(server, tmp_path / "a")
    play(rollout, count=2)
    assert "fewer tokens" not in rollout.endpoint.meter.sentences()
    server.set(forgets=5)
    rollout = rollout_of(server, tmp_path / "b")
    play(rollout, count=1)
    assert rollout.endpoint.meter.shrunk > 0
    assert "prompts had fewer tokens than the one before them" in rollout.endpoint.meter.sentences()


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            {"body": "<!DOCTYPE html><title>Sign in</title>", "headers": {"Content-Type": "text/html"}},
            "begins '<!DOCTYPE",
        ),
        ({"body": '{"choices": [{"message": {"content": "\xff\xfe look"}}]}'}, "no valid UTF-8"),
        ({"body": "data: {}\n\ndata: [DONE]\n", "headers": {"Content-Type": "text/event-stream"}}, "begins 'data: {}"),
        ({"body": "no gzip", "headers": {"Content-Encoding": "gzip"}}, "DecodingError: Error -3 while decompressing"),
        (
            {"body": gzip.compress(b"{}" * 99)[:40].decode("latin-1"), "headers": {"Content-Encoding": "gzip"}},
            "no valid JSON",
        ),
        ({"body": ""}, "no valid JSON"),
        ({"body": " " * 2_000_001}, "larger than 2,000,000 bytes"),
        (
            {"body": gzip.compress(b" " * 9_000_000).decode("latin-1"), "headers": {"Content-Encoding": "gzip"}},
            "larger than 2,000,000 bytes",
        ),
        ({"body": "[" * 100_000}, "no valid JSON"),
    ],
)
def test_an_answer_that_cannot_be_read_is_a_clear_error(
    server: Any, tmp_path: Path, fault: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imprint.models.served.endpoint.LARGEST", 2_000_000)
    server.set(always=fault, models=fault)
    error = refusal(server, tmp_path, retries=1)
    assert "no answer after 2 tries: " in error and told in error and "base_url is its API" in error


def test_a_zipped_answer_and_another_content_type_are_read(server: Any, tmp_path: Path) -> None:
    zipped = gzip.compress(json.dumps({"choices": [{"message": CUT, "finish_reason": "stop"}]}).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=latin-1"}
    server.set(faults={"1": {"body": zipped.decode("latin-1"), "headers": headers}})
    (episode,) = play(rollout_of(server, tmp_path), count=1)
    assert episode.turns[0].action == "look" and episode.success


def test_another_2xx_is_read_and_a_header_may_hold_any_bytes(server: Any, tmp_path: Path) -> None:
    created = {"status": 201, "body": json.dumps({"choices": [{"message": CUT, "finish_reason": "stop"}]})}
    busy = {"status": 503, "body": "{}", "headers": {"X-Reason": "\xff\xfe"}}
    server.set(faults={"1": {**created, "headers": {"X-Said": "\xfc"}}, "2": {"status": 202, "body": ""}, "3": busy})
    rollout = rollout_of(server, tmp_path)
    (episode,) = play(rollout, count=1)
    assert episode.turns[0].action == "look" and episode.success
    assert rollout.endpoint.meter.spent.retries == 2


def test_a_text_that_no_request_can_hold_is_sent_without_it(server: Any, tmp_path: Path) -> None:
    server.set()
    rollout = rollout_of(server, tmp_path)
    page = replace(LIBRARY["household-general"], body="Look\ud800 around.")
    (episode,) = rollout.play([Request(rollout.world.tasks("test")[0], 7, (page,))], Sampling(0.4, 64))
    assert episode.success and "Look? around." in server.asked()[0]["messages"][0]["content"]


# --- what cannot be reached ---


def test_a_redirect_is_an_error_that_names_where_to(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    to = {"Location": "https://elsewhere.example/v1/chat/completions?key=sk-secret"}
    for status in (301, 302, 307, 308):
        server.set(always={"status": status, "body": "", "headers": to})
        error = refusal(server, tmp_path, api_key_env="SOME_KEY")
        assert "endpoint.base_url: the server redirects to https://elsewhere.example/v1/chat" in error
        assert "sk-secret" not in error and "give the address that it redirects to" in error


def test_a_key_that_an_error_with_200_repeats_is_not_shown(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret")
    for fault in (failed(error={"message": "no such key: sk-secret"}), {"body": "sk-secret is no key"}):
        server.set(always=fault)
        assert "sk-secret" not in refusal(server, tmp_path, api_key_env="SOME_KEY", retries=0)


def test_a_proxy_is_asked_and_one_for_others_is_not(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.set()
    proxied = rollout_of(server, tmp_path / "a", base_url="http://somewhere.invalid/v1")
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{server.port}")
    (episode,) = play(proxied, count=1)
    assert episode.success
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "[::1],10.0.0.0/8,.local,127.0.0.1")
    (episode,) = play(rollout_of(server, tmp_path / "b"), count=1)
    assert episode.success


def test_a_proxy_that_is_not_there_is_an_error_at_once(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert "the server cannot be reached through the proxy http://127.0.0.1:9: " in refusal(server, tmp_path)


def test_a_server_with_an_ipv6_address_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "[::1]")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    absent = ExpertServer.__new__(ExpertServer)
    absent.port = 9
    error = refusal(absent, tmp_path, base_url="http://[::1]:9/v1")
    assert error.startswith("http://[::1]:9/v1: endpoint.base_url: the server cannot be reached")

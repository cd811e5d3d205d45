"""What a server's answers mean, and what a skill is worth: without a server, with figures counted by hand."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.errors import PolicyError, RecipeError
from imprint.measurement.skill_value import skill_values
from imprint.measurement.trials import trial_of
from imprint.models.served.config import EndpointConfig
from imprint.models.served.server import (
    ContextFullError,
    FilteredError,
    TransientError,
    raise_refusal,
    read_reply,
    retry_after,
)
from imprint.models.served.usage import Meter, Usage
from imprint.recipe import load_recipe, parse_recipe, recipe_keys
from imprint.runs.run import recipe_differences
from imprint.types import Episode, StopReason, Task, Trial, Turn

MESSAGES = [{"role": "user", "content": "x" * 10}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens", "text", "finish_reason", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


def body(message: object, **more: object) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], **more}).encode()


# --- a 200 ---


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | JSON.map(body))
def test_whatever_a_200_holds_is_an_answer_or_worth_another_try(data):
    try:
        reply = read_reply(data, MESSAGES)
    except TransientError:
        return
    reply.text.encode()
    assert reply.usage.requests == 1 and reply.usage.prompt_tokens > 0 <= reply.usage.completion_tokens
    assert 0 <= reply.usage.cached_tokens <= reply.usage.prompt_tokens


def test_tokens_are_the_servers_or_a_quarter_of_the_characters():
    counted = {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 20}}
    usage = read_reply(body({"content": "hello"}, usage=counted), MESSAGES).usage
    assert usage == Usage(requests=1, prompt_tokens=30, completion_tokens=4, cached_tokens=20)
    for absent in (None, {}, {"prompt_tokens": "many"}, []):
        usage = read_reply(body({"content": "hello"}, usage=absent), MESSAGES).usage
        assert usage == Usage(requests=1, prompt_tokens=3, completion_tokens=2, estimated=1)


def test_an_answer_in_parts_and_thoughts_kept_apart():
    parts = read_reply(
        body({"content": [{"type": "text", "text": "go "}, {"type": "text", "text": "north"}]}), MESSAGES
    )
    assert parts.text == parts.answer == "go north"
    apart = read_reply(body({"content": "<action>look</action>", "reasoning_content": "Hm."}), MESSAGES)
    assert apart.text == "<think>Hm.</think><action>look</action>" and apart.answer == "<action>look</action>"
    both = read_reply(body({"content": "<think>a</think>", "reasoning": "Hm."}), MESSAGES)
    assert both.text == both.answer == "<think>a</think>"
    assert read_reply(body({"content": "\ud800"}), MESSAGES).text == "?"  # could be sent nowhere


# --- another status ---


def meaning(status: int, error: object, secret: str = "") -> Exception:
    data = error if isinstance(error, bytes) else json.dumps(error).encode()
    with pytest.raises((TransientError, ContextFullError, FilteredError, PolicyError)) as caught:
        raise_refusal(
            status, data, {"retry-after": "3"}, where="http://h/v1", model="m", served=["a", "b"], secret=secret
        )
    return caught.value


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",  # OpenAI, vLLM
        "the request exceeds the available context size. try increasing the context size",  # llama.cpp
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",  # SGLang
        "prompt is too long: 210000 tokens > 200000 maximum",
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_full_context_is_recognised_by_what_servers_say(message, status):
    assert isinstance(meaning(status, {"error": {"message": message}}), ContextFullError)
    assert isinstance(meaning(status, {"object": "error", "message": message, "code": 400}), ContextFullError)


def test_other_statuses():
    for status in (408, 409, 425, 429, 500, 502, 503, 504, 529):
        busy = meaning(status, b"<html>busy</html>")
        assert isinstance(busy, TransientError) and busy.wait == 3
    limit = meaning(429, {"error": {"message": "tokens per minute: a context length of 5000 is too many for now"}})
    assert isinstance(limit, TransientError)
    assert isinstance(meaning(400, {"error": {"code": "content_filter", "message": "no"}}), FilteredError)
    quota = meaning(429, {"error": {"code": "insufficient_quota", "message": "pay"}})
    assert isinstance(quota, PolicyError) and "pay" in str(quota)
    absent = str(meaning(404, {"detail": "Not Found"}))
    assert "'m'" in absent and "(a, b)" in absent and "ends in /v1" in absent
    assert "status 301" in str(meaning(301, b""))
    assert "status 422): [{'msg': 'bad seed'}]" in str(meaning(422, {"detail": [{"msg": "bad seed"}]}))


def test_a_key_that_the_server_repeats_is_not_shown():
    error = str(meaning(401, {"error": {"message": "Incorrect API key: sk-abc"}}, secret="sk-abc"))
    assert "sk-abc" not in error and "***" in error
    assert "sk-abc" not in str(meaning(503, b"sk-abc is too busy", secret="sk-abc"))


def test_what_a_server_says_moves_no_cursor():
    assert "\x1b" not in str(meaning(400, {"error": {"message": "\x1b[2Jgone"}}))


def test_retry_after_is_seconds_or_a_date():
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after": "-4"}) == 0
    assert retry_after({"retry-after": formatdate(0, usegmt=True)}) == 0  # long past
    assert retry_after({"retry-after": formatdate(4102444800, usegmt=True)}) > 1e8  # 2100
    for nonsense in ({}, {"retry-after": ""}, {"retry-after": "soon"}):
        assert retry_after(nonsense) is None


# --- settings ---


def config(**more: object) -> EndpointConfig:
    return EndpointConfig(base_url="http://h/v1", **more)  # type: ignore[arg-type]


def refused(**endpoint: object) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"name": "n", "method": "zero_shot", "endpoint": {"base_url": "http://h/v1", **endpoint}})
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_no_secret_in_the_wrong_place_is_repeated():
    assert "did you mean 'api_key_env'" in refused(api_key="sk-abc")
    for wrong in (
        {"api_key_env": "sk-abc"},
        {"base_url": "http://me:sk-abc@h/v1"},
        {"base_url": "http://h/v1?key=sk-abc"},
        {"extra": {"api_key": "sk-abc"}},
        {"api_key": "sk-abc"},
    ):
        assert "sk-abc" not in refused(**wrong)
        assert "endpoint" in refused(**wrong)


def test_addresses_and_prices():
    assert config().base_url == EndpointConfig(base_url="http://h/v1/chat/completions").base_url == "http://h/v1"
    assert "http(s)" in refused(base_url="localhost:8000")
    assert "give both" in refused(price_input=1)
    assert "'model' is not yours" in refused(extra={"model": "x"})
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=200_000)
    assert usage.cost(config()) is None
    assert usage.cost(config(price_input=3, price_output=10)) == pytest.approx(3 + 2)
    assert usage.cost(config(price_input=3, price_output=10, price_cached=1)) == pytest.approx(1.8 + 0.4 + 2)


def test_a_meter_tells_what_is_spent_apart_from_what_is_reused():
    meter = Meter(config(price_input=1, price_output=1))
    meter.spent.add(Usage(requests=2, prompt_tokens=10, completion_tokens=5, retries=1))
    meter.reuse(Usage(requests=7, prompt_tokens=100, completion_tokens=50))
    record = meter.to_record()
    assert (record["requests"], record["retries"], record["prompt_tokens"]) == (2, 1, 10)
    assert record["cost"] == pytest.approx(15e-6) and record["reused"]["cost"] == pytest.approx(150e-6)
    assert record["reused_episodes"] == 1 and record["reused"]["requests"] == 7
    json.dumps(record, allow_nan=False)
    assert meter.metrics()["endpoint/requests"] == 2 and meter.metrics()["endpoint/reused_cost"] > 0


def test_the_section_is_listed_and_may_be_set_and_unset_from_the_command_line(tmp_path):
    keys = {name for name, _, _ in recipe_keys()}
    assert {"endpoint.base_url", "endpoint.price_cached"} <= keys and "endpoint" not in keys
    assert all(meaning for name, _, meaning in recipe_keys() if name.startswith("endpoint."))
    path = tmp_path / "r.yaml"
    path.write_text("name: n\nmethod: zero_shot\nendpoint: null\n")
    assert load_recipe(path, ["endpoint.base_url=http://h/v1"]).endpoint == config()
    path.write_text("name: n\nmethod: zero_shot\nendpoint: {base_url: 'http://h/v1'}\n")
    assert load_recipe(path, ["endpoint=null"]).endpoint is None
    with pytest.raises(RecipeError, match="did you mean 'concurrency'"):
        load_recipe(path, ["endpoint.concurency=3"])


def test_a_run_made_before_there_was_an_endpoint_goes_on():
    assert recipe_differences({"name": "n"}, {"name": "n", "endpoint": None}) == []
    (line,) = recipe_differences({"name": "n"}, {"name": "n", "endpoint": {"base_url": "u"}})
    assert line == "endpoint.base_url: absent here, 'u' given"


# --- the value of a skill ---


def episode(family: str, success: bool, reads: list[int], said: int) -> Trial:
    turns = tuple(Turn("", "look", "", 0.0, True, read, n * said, (n + 1) * said) for n, read in enumerate(reads))
    stop = StopReason.SUCCESS if success else StopReason.TURN_LIMIT
    made = Episode(Task("t", family, "test"), 0, (), "", turns, success, stop)
    return trial_of(made, condition="any", split="test")


def test_skill_values_by_hand():
    pairs = [
        (episode("a", True, [100, 110], 3), episode("a", False, [60, 70, 80], 4)),
        (episode("b", True, [120], 5), episode("b", True, [80], 5)),
    ]
    whole, a, b = skill_values({"page": pairs}, "leave_one_out", config(price_input=1000, price_output=100_000))
    assert [(w.skill, w.family, w.evidence.n) for w in (whole, a, b)] == [
        ("page", "all", 2),
        ("page", "a", 1),
        ("page", "b", 1),
    ]
    assert (whole.page_tokens, a.page_tokens, b.page_tokens) == (40, 40, 40)
    assert (a.episode_tokens, a.answered_tokens) == (210 - 210, 6 - 12)
    assert (b.episode_tokens, b.answered_tokens) == (40, 0)
    assert (whole.episode_tokens, whole.answered_tokens) == (20, -3)
    assert whole.episode_cost == pytest.approx((20 * 1000 - 3 * 100_000) / 1e6)
    assert whole.evidence.helpfulness == 0.5 and whole.verdict == "no evidence"


def test_a_verdict_needs_an_interval_that_leaves_out_zero():
    won, lost = episode("a", True, [10], 1), episode("a", False, [10], 1)
    verdicts = {
        name: skill_values({name: pairs}, "skill_vs_none")[0].verdict
        for name, pairs in {"up": [(won, lost)] * 12, "down": [(lost, won)] * 12, "even": [(won, won)] * 12}.items()
    }
    assert verdicts == {"up": "helps", "down": "hurts", "even": "no evidence"}
    (nothing,) = skill_values({"unused": []}, "skill_vs_none")
    assert (nothing.verdict, nothing.page_tokens, nothing.episode_cost) == ("no evidence", None, None)

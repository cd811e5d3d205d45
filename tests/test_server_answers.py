"""What a server's answers mean, and what a skill is worth: without a server, with figures counted by hand."""

from __future__ import annotations

import json
from datetime import date
from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imprint.envs.answers import parse_tags
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
from imprint.models.thoughts import TAG, quiet, spoken, thoughts
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
    assert read_reply(body({"content": ["go ", {"text": "north"}, None]}), MESSAGES).answer == "go north"
    apart = read_reply(body({"content": "<action>look</action>", "reasoning_content": "Hm."}), MESSAGES)
    assert apart.text == "<think>Hm.</think><action>look</action>" and apart.answer == "<action>look</action>"
    both = read_reply(body({"content": "<think>a</think>", "reasoning": "Hm."}), MESSAGES)
    assert both.text == both.answer == "<think>a</think>"
    assert read_reply(body({"content": "\ud800"}), MESSAGES).text == "?"  # could be sent nowhere


SPEECH = st.lists(
    st.one_of(
        st.sampled_from(["<think>", "</think>", "<action>", "</action>", "[THINK]", "[/THINK]", "</seed:think>"]),
        st.text("ab\n <>/[]", max_size=4),
    ),
    max_size=10,
).map("".join)


@given(SPEECH, SPEECH.filter(lambda said: said.strip() and not TAG.search(said)))
@example("", "<action></action>")
def test_what_is_said_decides_the_command_and_what_is_thought_does_not(thought, said):
    apart = read_reply(body({"content": said, "reasoning_content": thought}), MESSAGES).text
    with_pair = f"<think></think>{said}"
    for text in (apart, f"<think>{thought}</think>{said}", f"{thought}</think>{said}"):
        assert spoken(text) == said
        # A server's empty field is no pair of thoughts that the model wrote.
        assert parse_tags(quiet(text)) == parse_tags(said if text == said else with_pair)
    assert (apart == said) == (not thought)


@given(SPEECH)
def test_thoughts_are_found_in_any_text(text):
    found = thoughts(text)
    assert all(one.start <= one.inside <= one.until <= one.end <= len(text) for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert quiet(quiet(text)) == quiet(text)
    assert spoken(quiet(text)) == spoken(text)


# --- another status ---


def meaning(status: int, error: object, secret: str = "") -> Exception:
    data = error if isinstance(error, bytes) else json.dumps(error).encode()
    with pytest.raises((TransientError, ContextFullError, FilteredError, PolicyError)) as caught:
        raise_refusal(
            status, data, {"retry-after": "3"}, where="http://h/v1", model="m", served=["a", "b"], secret=secret
        )
    return caught.value


FULL = [
    "Token limit reached",
    "input_tokens exceeds model limits",
    "maximum number of tokens exceeded",
    "Max total tokens 4096 exceeded, prompt 5000",
    "promptTokens + maxTokens exceeds limit",
    "This model takes 4096 tokens but the prompt has 5000",
    "The prompt does not fit in the context",
    "Not enough context space left for the request",
    "上下文长度超过限制",
    "输入tokens数超出模型上限",
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",  # OpenAI, vLLM
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens.",
    "Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576",
    "'max_tokens' is too large: 512. This model's maximum context length is 4096 tokens and your request has 4000",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",  # vLLM
    "You passed 4097 input tokens and requested 0 output tokens. However, the model's context length is only 4096",
    "max_tokens must be at least 1, got -93.",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",  # SGLang, Together
    "Input length (4100 tokens) exceeds the maximum allowed length (4090 tokens). Use a shorter input.",
    "Requested token count exceeds the model's maximum context length of 4096 tokens.",
    "the request exceeds the available context size. try increasing the context size",  # llama.cpp
    "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "input is too large to process. increase the physical batch size",
    "Requested tokens (5000) exceed context window of 4096",  # llama-cpp-python
    "the input length exceeds the context length",  # Ollama
    "prompt too long; exceeded max context length by 12 tokens",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens",  # TGI
    "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
    "litellm.ContextWindowExceededError: litellm.BadRequestError: it is all used",  # LiteLLM
    "prompt is too long: 210000 tokens > 200000 maximum",  # Anthropic
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length",
    "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",  # Gemini
    "Unable to submit request because the input token count is 40000 but model only supports up to 32768. "
    "Reduce the input token count and try again.",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",  # Mistral
    "This endpoint's maximum context length is 128000 tokens. However, you requested about 130000",  # OpenRouter
    "Please reduce the length of the messages or completion.",  # Groq
    "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",  # Cerebras
    "The prompt is too long: 140000, model maximum context length: 131072",  # Fireworks
    "too many tokens: total number of tokens in the prompt cannot exceed 4081",  # Cohere
    "Input is too long for requested model.",  # Bedrock
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",  # xAI
    "prompt token count of 130000 exceeds the limit of 128000",  # Copilot
    "Request body too large for gpt-4o model. Max size: 8000 tokens.",  # GitHub
    "Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)",  # Moonshot
    "Range of input length should be [1, 30720]",  # DashScope
    "invalid params, context window exceeds limit (2013)",  # MiniMax
    "Prompt \u8d85\u957f",  # Zhipu
    "Total tokens of image and text exceed max message tokens",  # Volcengine
    "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length "
    "of only 4096 tokens",  # LM Studio
    "Prompt length (5000) exceeds maximum input length (4096)",  # TensorRT-LLM
    "Prompt length 5000 is greater than max_seq_len 4096",  # TabbyAPI
    "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",  # Poolside
]
NOT_FULL = [
    "Number of tokens per day exceeded the limit",
    "输入tokens数超出每分钟限制",
    "The image does not fit the limit",
    "max_tokens is too large: 5000. This model supports at most 4096 completion tokens",
    "max_tokens=5000 cannot be greater than max_model_len=4096. Please request fewer output tokens.",
    "Invalid request: max_tokens is too large: 5000",
    "The request took too long to process",
    "the prompt has been waiting in the queue for too long",
    "Timed out: the input was processed too long",
    "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000, reduce your message size",
    "You exceeded your current quota, please check your plan",
    "Rate limit reached: the input exceeds the limit of 30000 tokens per min",
    "image is too large: at most 20 MB",
    "temperature must be less than 2",
    "unknown parameter: seed",
    "out of memory",
    "The model is overloaded. Please try again later.",
    "messages: roles must alternate",
    "Too many requests in flight",
    "top_logprobs exceeds the maximum of 20",
]


@pytest.mark.parametrize("message", FULL)
@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_full_context_is_recognised_by_what_servers_say(message, status):
    assert isinstance(meaning(status, {"error": {"message": message}}), ContextFullError)
    assert isinstance(meaning(status, {"object": "error", "message": message, "code": 400}), ContextFullError)


@pytest.mark.parametrize("message", NOT_FULL)
@pytest.mark.parametrize("status", [400, 422, 429, 500])
def test_what_is_worded_alike_is_no_full_context(message, status):
    assert not isinstance(meaning(status, {"error": {"message": message}}), ContextFullError)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"error": {"message": "no", "code": "context_length_exceeded"}}),
        (429, {"error": {"message": "no", "code": "context_length_exceeded"}}),
        (400, {"error": {"message": "no", "type": "exceed_context_size_error", "code": 400}}),
        (413, b"<html><h1>413 Request Entity Too Large</h1></html>"),
        (400, {"detail": "prompt is too long"}),
        (422, {"detail": [{"msg": "prompt is too long", "input": "x"}]}),
        (422, {"error": "prompt is too long", "error_type": "validation"}),
        (400, [{"error": {"code": 400, "message": "prompt is too long", "status": "INVALID_ARGUMENT"}}]),
        (400, {"error": {"message": "Provider returned error", "metadata": {"raw": '{"m": "prompt is too long"}'}}}),
        (500, b"prompt is too long"),
        (400, {"message": "prompt is too long"}),
    ],
)
def test_a_full_context_is_recognised_in_every_shape_of_error(status, error):
    assert isinstance(meaning(status, error), ContextFullError)


def test_what_an_error_repeats_of_the_request_says_nothing_of_the_context():
    repeated = {"detail": [{"msg": "bad seed", "input": {"content": "the prompt is too long"}}]}
    assert isinstance(meaning(422, repeated), PolicyError)
    repeated = {"error": {"message": "bad seed", "request": "This model's maximum context length is 4"}}
    assert isinstance(meaning(400, repeated), PolicyError)


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
    return EndpointConfig(**{"base_url": "http://h/v1", **more})  # type: ignore[arg-type]


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
    for wrong in (
        "localhost:8000",
        "http://h:99999/v1",
        "http://h:port/v1",
        "http://[::1/v1",
        "http://h h/v1",
        "http://h\n/v1",
    ):
        assert "http(s)" in refused(base_url=wrong)
    assert config(base_url="http://[::1]:8000/v1").base_url == "http://[::1]:8000/v1"
    for wrong in ({"top_p": float("nan")}, {"since": date(2024, 1, 1)}):
        assert "endpoint.extra" in refused(extra=wrong) and "cannot be sent as JSON" in refused(extra=wrong)
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

"""Sampling with a shared cache, episodes, samples and the learner's log-probs, against the plain forward pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.envs.answers import parse_folded
from imprint.errors import PolicyError
from imprint.learning.sample import episode_sample
from imprint.learning.scoring import micro_batches, score
from imprint.models.local import sampler as local
from imprint.models.local.attention import _weigh
from imprint.models.local.continuation import sharing_pays, states_before
from imprint.models.local.forward import logits_of
from imprint.models.local.sampler import LocalSampler, LocalSession, Prompt, Sampling, draw
from imprint.rollout.tokens import Request, TokenRollout, derive_seed
from imprint.skills.skill import Skill
from imprint.types import Episode, Picture, StopReason, undrawn
from tiny import DoorWorld, tiny_policy

PAGE = Skill(name="doors", description="Doors.", body="open the red door")


def plain_logprobs(policy, prompt_ids, token_ids):
    """Log-probs of `token_ids` after `prompt_ids`, by one uncached forward pass."""
    ids = torch.tensor([list(prompt_ids) + list(token_ids)])
    with torch.no_grad():
        logprobs = policy.model(input_ids=ids).logits[0].log_softmax(-1)
    start = len(prompt_ids) - 1
    return torch.stack([logprobs[start + t, token] for t, token in enumerate(token_ids)])


@pytest.fixture(scope="module")
def policy():
    return tiny_policy()


def play(policy, count=6, temperature=1.0, batch=256, max_new_tokens=6) -> list[Episode]:
    world = DoorWorld()
    rollout = TokenRollout(LocalSampler(policy), world, Context(policy, ContextConfig(style="plain")), batch=batch)
    requests = [
        Request(task, derive_seed("test", index), (PAGE,) if index % 2 else ())
        for index, task in enumerate(world.tasks("train")[:count])
    ]
    return rollout.play(requests, Sampling(temperature, max_new_tokens))


def test_two_pages_of_one_name_are_two_pages(policy):
    context = Context(policy, ContextConfig(style="plain"))
    first = DoorWorld().environment().reset(DoorWorld().tasks("train")[0], 0)
    other = replace(PAGE, body="open the blue door")
    red, blue = (policy.decode(context.start((page,), first).ids) for page in (PAGE, other))
    assert "red door" in red
    assert "blue door" in blue


def test_log_probs_of_the_sampler_equal_a_plain_forward_pass(policy):
    for episode in play(policy):
        plain = plain_logprobs(policy, episode.prompt_ids, episode.token_ids)
        for turn in episode.turns:
            kept = torch.tensor(episode.logprobs[turn.start : turn.stop])
            assert torch.allclose(kept, plain[turn.start : turn.stop], atol=2e-5)


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_who_waits_for_whom_changes_nothing(policy, monkeypatch, share):
    usual = play(policy, count=8)
    monkeypatch.setattr(local, "STRAGGLERS", share)
    for episode, other in zip(usual, play(policy, count=8), strict=True):
        assert episode.token_ids == other.token_ids
        assert np.allclose(episode.logprobs, other.logprobs, atol=2e-5)
        assert [turn.observation for turn in episode.turns] == [turn.observation for turn in other.turns]


def test_the_cpu_kernel_and_the_plain_formula_agree():
    dice = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(3, 2, size, 8, generator=dice) for size in (5, 11, 11))
    mask = torch.rand(3, 1, 5, 11, generator=dice) < 0.5
    mask[..., 0] = True
    for seen in (mask, None):
        kernel = _weigh(queries, keys, values, seen)
        formula = _weigh(queries.double(), keys.double(), values.double(), seen)
        for one, other in zip(kernel, formula, strict=True):
            assert torch.allclose(one.double(), other.double(), atol=1e-5)


def test_log_probs_of_the_learner_equal_those_of_the_sampler(policy):
    episodes = play(policy, count=8)
    samples = [episode_sample(episode, [1.0] * len(episode.turns)) for episode in episodes]
    seen = 0
    for micro in micro_batches(samples, 300):
        scored = score(policy, micro)
        assert torch.allclose(scored.logprobs_M, scored.old_logprobs_M, atol=2e-5)
        seen += len(micro)
    assert seen == len(samples)


def test_sharing_prompts_changes_no_gradient():
    rng = np.random.default_rng(0)
    prompts = [(tuple(rng.integers(2, 250, size).tolist()), ()) for size in (7, 11)] * 3
    own = [tuple(rng.integers(2, 250, int(rng.integers(3, 9))).tolist()) for _ in range(6)]

    def gradient(groups, shared):
        policy = tiny_policy(seed=1)
        for group in groups:
            states, ids = states_before(policy, [prompts[n] for n in group], [own[n] for n in group], shared=shared)
            logprobs = torch.log_softmax(logits_of(policy, states), dim=-1).gather(-1, ids[..., None])[..., 0]
            for row, place in enumerate(group):
                logprobs[row, : len(own[place])].sum().backward(retain_graph=True)
        return torch.cat([p.grad.flatten() for p in policy.model.parameters()])

    alone = gradient([[place] for place in range(6)], True)
    assert float(alone.abs().max()) > 0.01
    for shared in (True, False):
        assert torch.allclose(gradient([range(6)], shared), alone, atol=1e-4, rtol=1e-4)


def test_a_prompt_is_shared_where_that_saves_a_third_of_the_tokens():
    long, short = ((2,) * 90, ()), ((3,) * 9, ())
    assert sharing_pays([long, long], [(5,) * 10] * 2)
    assert not sharing_pays([short, short], [(5,) * 10] * 2)
    assert not sharing_pays([long], [(5,) * 10])
    pictured = (short[0], (Picture("a page", 1.0, undrawn),))
    assert sharing_pays([pictured], [(5,) * 10])


def test_the_same_seed_gives_the_same_episode_in_any_company(policy):
    whole, split = play(policy, count=8), play(policy, count=8, batch=3)
    assert [e.token_ids for e in whole] == [e.token_ids for e in split]


def test_another_seed_gives_another_episode(policy):
    first, second = (
        LocalSession(policy, [Prompt((0, 5, 9))], [seed], {1}, Sampling(1.0, 20)).act({0: []})[0] for seed in (1, 2)
    )
    assert first.tokens != second.tokens


def test_an_episode_holds_what_was_said_and_read(policy):
    for episode in play(policy):
        text = policy.decode(list(episode.prompt_ids + episode.token_ids))
        assert text.startswith("# doors") == bool(episode.skills)
        assert episode.first_observation in text
        for turn in episode.turns[:-1]:
            assert turn.observation in text
        assert [turn.context_tokens for turn in episode.turns] == [
            len(episode.prompt_ids) + turn.start for turn in episode.turns
        ]
        assert episode.stop is not StopReason.RUNNING


def test_an_episode_survives_json(policy):
    import json

    for episode in play(policy, count=2):
        assert Episode.from_record(json.loads(json.dumps(episode.to_record(tokens=True)))) == episode


def test_a_full_context_ends_the_episode():
    policy = tiny_policy(max_context=60)
    episodes = play(policy, count=2)
    assert any(episode.stop is StopReason.CONTEXT_LIMIT for episode in episodes)
    assert all(episode.turns for episode in episodes)
    assert all(len(e.prompt_ids) + len(e.token_ids) <= 60 for e in episodes)


def test_a_prompt_that_leaves_no_room_for_a_response_is_an_error():
    with pytest.raises(PolicyError, match=r"task .* with . skills begins with \d+ tokens; .* the context of 40"):
        play(tiny_policy(max_context=40), count=2)


def test_draw_follows_the_distribution():
    logits = torch.log(torch.tensor([[0.5, 0.0, 0.3, 0.2]]))
    uniforms = torch.tensor([0.0, 0.499, 0.501, 0.799, 0.801, 0.999999999])
    tokens, logprobs = draw(logits.expand(6, -1), uniforms.double(), 1.0)
    assert tokens.tolist() == [0, 0, 2, 2, 3, 3]
    assert torch.allclose(logprobs.exp(), torch.tensor([0.5, 0.5, 0.3, 0.3, 0.2, 0.2]))


def test_greedy_takes_the_likeliest():
    tokens, _ = draw(torch.tensor([[0.1, 2.0, 0.3]]), torch.tensor([0.99]).double(), 0.0)
    assert tokens.tolist() == [1]


# The rules of the reference code, each with an answer that breaks it and the command that is carried out all the same.
@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>so</think><action>Go North</action>", ("go north", True)),
        ("<think>so</think> then\n<ACTION>\n go north \n</Action> done", ("go north", True)),  # small or large letters
        ("<action>go north</action><think>so</think>", ("go north", True)),  # in any order
        ("<think></think><action></action>", ("", True)),  # empty
        (
            "<think>a</think><action>fly to the moon</action>",
            ("fly to the moon", True),
        ),  # whether possible is not asked
        ("<think>a</think>go north", ("", False)),  # no action
        ("<think>a</think><action>go north", ("", False)),  # not closed
        ("<think>a</think>go north</action>", ("", False)),  # not opened
        ("<think>a</think></action>go north<action>", ("", False)),  # the wrong way round
        ("<think>a</think><action>x</action><action>y</action>", ("x", False)),  # two: the first counts
        ("<think>a</think><action>x</action></action>", ("x", False)),
        ("<think>a</think><action><action>x</action>", ("<action>x", False)),
        ("<action>go north</action>", ("go north", False)),  # no thoughts
        ("<think>a<action>x</action>", ("x", False)),
        ("a</think><action>x</action>", ("x", False)),
        ("<think>a</think><think>b</think><action>x</action>", ("x", False)),
        ("<think>a</think></think><action>x</action>", ("x", False)),
        ("<Think>a</Think><action>x</action>", ("x", False)),  # these in small letters only
        ("<think>\u597d</think><action>x</action>", ("x", False)),  # a Chinese character anywhere
        ("<think>a</think><action>\u9fff</action>", ("\u9fff", False)),
        ("<think>\u3042 \u00e9</think><action>x</action>", ("x", True)),  # other scripts may
        ("<think>a</think><action>x</action><compression>1.1</compression>", ("x", True)),
        ("<think>a</think><action>x</action><compression>1</compression><compression>2</compression>", ("x", False)),
        ("", ("", False)),
    ],
)
def test_the_published_answer_format(response, expected):
    assert parse_folded(response) == expected


def test_the_published_penalty_is_for_the_format_alone():
    """An impossible command in the right format costs nothing with `invalid: format`."""
    policy = tiny_policy()
    episode = TokenRollout(LocalSampler(policy), DoorWorld(), Context(policy, ContextConfig(style="plain"))).play(
        [Request(DoorWorld().tasks("train")[0], 1)], Sampling(1.0, 4)
    )[0]
    assert all(turn.valid <= turn.well_formed for turn in episode.turns)
    assert any(turn.well_formed and not turn.valid for turn in episode.turns)

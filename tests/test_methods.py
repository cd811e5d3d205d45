"""What each method shows and learns from, in a toy world with a random policy."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import LIBRARY, Bench
from imprint.errors import CheckpointError, RecipeError
from imprint.learning import losses
from imprint.learning.sample import Sample, group_samples
from imprint.learning.scoring import Scored
from imprint.measurement.conditions import WITH, WITHOUT
from imprint.measurement.probe import ClosedBookProbe
from imprint.measurement.training_metrics import gradient_tokens, zero_advantage_groups
from imprint.methods.base import check_method
from imprint.methods.loop import Clock, Loop
from imprint.methods.task_order import TaskOrder
from imprint.recipe import parse_recipe
from imprint.types import Trial
from tiny import DoorWorld

FEW = {
    "steps": 3,
    "rollout": {"tasks": 2, "group": 4, "max_new_tokens": 4},
    "learner": {"lr": 1e-3},
    "evaluation": {"interval": 1, "tasks": 4, "test_tasks": 4},
}
CURRICULUM = {"curriculum": {"interval": 1}}


def start(method, folder, resume=False, won=None, **changes):
    """A bench for a method, with little to do."""
    sections = CURRICULUM if method in ("skill0", "imprint") else {}
    return Bench(folder, {"method": method, **FEW, **sections, **changes}, resume=resume, won=won)


def begun(method, folder, **changes):
    """A bench whose method has its state, and a loop."""
    bench = start(method, folder, **changes)
    bench.method.begin(LIBRARY, bench.parts)
    return bench, Loop(bench.parts, bench.method)


def gathered(bench, loop):
    """The groups of the first step."""
    return loop.play(lambda task, index: bench.method.show(task, index, LIBRARY))


def shown(bench, played):
    """What the training episodes of a run showed."""
    return {tuple(skill.name for skill in request.skills) for request in played}


def training(bench):
    """The requests of the training split."""
    return [request for request in bench.asked if request.task.split == "train"]


def test_skill0_shows_what_is_active_and_serves_the_task(tmp_path):
    bench, loop = begun("skill0", tmp_path / "run")
    assert {e.skills for group in gathered(bench, loop) for e in group} <= {("general", "red"), ("general", "blue")}
    bench.method.skills = replace(bench.method.skills, active=("red",))
    assert {e.skills for group in gathered(bench, loop) for e in group} <= {("red",), ()}


@pytest.mark.parametrize(
    ("method", "expected"), [("grpo", {()}), ("skillrl", {("general", "red"), ("general", "blue")})]
)
def test_grpo_never_shows_a_skill_and_skillrl_always_does(method, expected, tmp_path):
    bench = start(method, tmp_path / "run")
    agent = bench.go()
    assert shown(bench, training(bench)) == expected
    assert agent.shown == (WITHOUT if method == "grpo" else WITH)
    assert agent.model.base == str(bench.run.checkpoint_path(3))


@pytest.mark.parametrize("method", ["grpo", "skillrl", "zero_shot"])
def test_a_method_without_a_curriculum_needs_no_steps_for_its_stages(method, tmp_path):
    bench = start(method, tmp_path / "run", steps=1)
    bench.go()
    assert bench.run.status()["state"] == "finished" and bench.rows("curriculum") == []


@pytest.mark.parametrize("method", ["skill0", "imprint"])
def test_stages_that_the_steps_do_not_give_are_told_before_anything_is_loaded(method):
    with pytest.raises(RecipeError, match="1 training steps cannot be cut into 3 stages"):
        check_method(parse_recipe({"name": "t", "method": method, "steps": 1}))
    check_method(parse_recipe({"name": "t", "method": method, "steps": 0}))


def test_the_curriculum_of_a_whole_run_ends_without_skills(tmp_path):
    bench = start("skill0", tmp_path / "run")
    bench.go()
    active = [row["curriculum/active"] for row in bench.rows("metrics") if "curriculum/active" in row]
    assert active[0] <= 3
    assert active[-1] == 0
    assert bench.run.status()["state"] == "finished"
    evaluations = bench.rows("evaluations")
    assert {row["step"] for row in evaluations if row["split"] == "validation"} == {0, 1, 2, 3}
    assert {(row["arm"], row["family"]) for row in evaluations if row["split"] == "test"} == {
        (arm, family) for arm in ("with", "without") for family in ("all", "red", "blue")
    }
    decided = {(row["step"], row["skill"]) for row in bench.rows("curriculum")}
    assert {(1, name) for name in LIBRARY.names} <= decided


def outcomes(*successes):
    """Gives the episodes of each group these successes."""

    def won(episodes):
        size = len(successes)
        return [replace(one, success=bool(successes[place % size])) for place, one in enumerate(episodes)]

    return won


@pytest.mark.parametrize("method", ["grpo", "skill0", "imprint", "closed_book", "rltf_sd", "rltf_fm", "siri", "ucob"])
def test_steps_that_teach_nothing_are_told(method, tmp_path):
    bench = start(method, tmp_path / "run", won=outcomes(0, 0, 0, 0), steps=7)
    bench.go()
    told = [note for note in bench.notes if "taught nothing" in note]
    assert [note.split(":")[1].strip().split(" taught")[0] for note in told] == ["the last 3 steps", "the last 6 steps"]
    assert "success 0.00" in told[0]


@pytest.mark.parametrize("method", ["grpo", "skill0", "imprint", "closed_book", "rltf_sd", "rltf_fm"])
def test_steps_that_teach_something_are_not(method, tmp_path):
    bench = start(method, tmp_path / "run", won=outcomes(1, 0, 0, 0), steps=7)
    bench.go()
    assert not any("taught nothing" in note for note in bench.notes)


def test_a_graded_outcome_teaches_without_any_success(tmp_path):
    def graded(episodes):
        return [
            replace(one, success=False, turns=(replace(one.turns[0], reward=place / 7), *one.turns[1:]))
            for place, one in enumerate(episodes)
        ]

    bench = start("grpo", tmp_path / "run", won=graded, steps=4, reward={"success": None})
    bench.go()
    assert not any("taught nothing" in note for note in bench.notes)
    assert {row["train/flat_groups"] for row in bench.rows("metrics") if "env_steps" in row} == {0.0}


def test_a_policy_that_solves_nothing_is_told_of_before_training(tmp_path):
    bench = start("grpo", tmp_path / "run")
    play = bench.rollout.play
    bench.rollout.play = lambda *given: [replace(episode, success=False) for episode in play(*given)]
    bench.go()
    assert sum("solves none of 4 validation tasks" in note for note in bench.notes) == 1


def test_the_best_checkpoint_on_validation_is_kept_beside_the_newest(tmp_path):
    from imprint.commands.subject import Subject

    changes = {"keep_best": "without", "keep_checkpoints": 1, "checkpoint_interval": 100}
    bench = start("grpo", tmp_path / "run", steps=5, **changes)
    play, solved = bench.rollout.play, [0, 1, 3, 3, 2, 1]  # validation tasks without skills, after each step

    def played(requests, sampling, progress=None):
        left = solved[sum("env_steps" in row for row in bench.rows("metrics"))]
        episodes = []
        for episode in play(requests, sampling, progress):
            episodes.append(replace(episode, success=left > 0 and not episode.skills))
            left -= episodes[-1].success
        return episodes

    bench.rollout.play = played
    bench.go()
    assert bench.run.best_step("without") == 3  # of the two with three, the later
    assert bench.run.checkpoint_steps() == [3, 5]
    bench.run.close()
    assert Subject(str(tmp_path / "run"), None, [], best=True).step == 3
    assert Subject(str(tmp_path / "run"), None, []).step == 5


def test_a_best_checkpoint_that_is_not_kept_is_told(tmp_path):
    from imprint.commands.subject import Subject
    from imprint.errors import CheckpointError

    bench = start("grpo", tmp_path / "run")
    bench.go()
    bench.run.close()
    with pytest.raises(CheckpointError, match="keep_best: without"):
        Subject(str(tmp_path / "run"), None, [], best=True)
    with pytest.raises(RecipeError, match="choose one of: with, without"):
        start("grpo", tmp_path / "other", keep_best="wihtout").go()


def test_every_measured_episode_is_a_trial_and_the_evaluations_follow_from_them(tmp_path):
    from imprint.measurement.trials import evaluations

    bench = start("skill0", tmp_path / "run")
    bench.go()
    trials = [Trial.from_record(row) for row in bench.rows("trials")]
    assert {trial.split for trial in trials} == {"validation", "evidence", "test"}
    told = [trial for trial in trials if trial.split != "evidence"]
    assert [row.to_record() for row in evaluations(told)] == bench.rows("evaluations")
    pairs = {}
    for trial in told:
        pairs.setdefault((trial.step, trial.split, trial.task, trial.seed), []).append(trial.condition)
    assert all(sorted(names) == ["with", "without"] for names in pairs.values())
    assert {trial.condition for trial in trials if trial.split == "evidence"} >= {"active", "active-red"}


def test_a_group_without_any_advantage_is_counted_whatever_a_method_adds(tmp_path):
    bench, loop = begun("imprint", tmp_path / "run")
    groups = gathered(bench, loop)
    scores = [[[float(index) for _ in episode.turns] for index, episode in enumerate(groups[0])]]
    scores += [[[1.0] * len(episode.turns) for episode in group] for group in groups[1:]]
    samples = group_samples(groups, scores, loop.advantage)
    assert zero_advantage_groups(groups, samples) == 0.5
    replayed = [replace(sample, token_ids=(*sample.token_ids, 1)) for sample in samples]  # of other episodes
    assert zero_advantage_groups(groups, replayed) == 1.0
    # The readers of each group all did as well as each other, and so did the rest: nothing within either.
    apart = [[1.0 if episode.skills else 0.0 for _ in episode.turns] for group in groups for episode in group]
    halves = [[e for e in group if bool(e.skills) is reads] for group in groups for reads in (True, False)]
    by_episode = {id(e): score for e, score in zip((e for g in groups for e in g), apart, strict=True)}
    samples = group_samples(halves, [[by_episode[id(e)] for e in half] for half in halves], loop.advantage)
    assert zero_advantage_groups(groups, samples) == 1.0


@pytest.mark.parametrize("method", ["grpo", "closed_book"])
def test_the_time_of_a_step_is_split_into_rollout_and_update(method, tmp_path):
    bench = start(method, tmp_path / "run", won=every_second)
    bench.go()
    rows = bench.rows("timings")
    assert all(row["seconds"] >= row.get("rollout", 0) + row.get("update", 0) for row in rows)
    assert any(row.get("rollout", 0) > 0 for row in rows) and any(row.get("update", 0) > 0 for row in rows)
    logged = [row["train/zero_advantage_groups"] for row in bench.rows("metrics") if "loss/policy" in row]
    assert logged or method == "closed_book"


def test_the_work_of_a_run_is_logged_by_step(tmp_path):
    """Of all batches of a step, and of a part of a run that was resumed."""
    bench = start("closed_book", tmp_path / "run", won=every_second, imitation={"epochs": 2, "batch": 5})
    bench.go()
    rows = [row for row in bench.rows("metrics") if "learner/tokens" in row]
    tokens = sum(sample.trained_tokens for sample in bench.method.kept)
    assert len(bench.method.kept) == 12
    assert [row["learner/tokens"] for row in rows] == [0, 0, 0, tokens, tokens]
    assert [row["learner/optimizer_steps"] for row in rows] == [0, 0, 0, 3, 3]
    timings = bench.rows("timings")
    assert ["validation" in row for row in timings] == [False, False, False, False, True]
    assert 0 < timings[-1]["validation"] < timings[-1]["seconds"]


def test_a_budget_of_environment_steps_ends_training_and_sets_the_pace(tmp_path):
    changes = {"evaluation": {"interval": 3, "tasks": 4, "test_tasks": 4}, "learner": {"lr": 1e-3, "decay": "linear"}}
    bench = start("imprint", tmp_path / "run", won=every_second, env_steps=200, steps=9, **changes)
    bench.go()
    rows = [row for row in bench.rows("metrics") if "env_steps" in row]
    assert rows[-1]["env_steps"] >= 200 > rows[-2]["env_steps"]
    assert bench.run.status()["step"] == len(rows) != 9
    began = [0, *(int(row["env_steps"]) for row in rows)]
    for row, used in zip(rows, began, strict=False):  # the learning rate falls with the budget, not with the updates
        assert row["lr"] == pytest.approx(1e-3 * (1 - 0.9 * (9 * used // 200) / 9))
    validations = {row["env_steps"] for row in bench.rows("evaluations") if row["split"] == "validation"}
    assert len(validations) == 4  # at the start, after each third, and at the end
    stages = [(row["env_steps"], row["curriculum/active"]) for row in rows]
    assert all(active == 0 for used, active in stages if used > 134 + 32)


def test_the_clock_passes_every_multiple_once_and_the_end():
    clock = Clock(9, 200)
    assert clock.passed(None, 3) and not clock.done
    passed = []
    while not clock.done:
        before = clock.now
        clock.env_steps += 30
        passed.append((clock.now, clock.passed(before, 3)))
    assert passed == [(1, False), (2, False), (4, True), (5, False), (6, True), (8, False), (9, True)]


def test_tasks_are_walked_through_before_any_comes_again():
    order = TaskOrder(DoorWorld().tasks("train"), 2, balance=False, seed=0)
    ids = [task.id for step in range(8) for task in order.at(step)]
    assert len(set(ids[:8])) == 8
    assert sorted(ids[:8]) == sorted(ids[8:])
    assert ids[:8] != ids[8:]


def test_balanced_tasks_come_from_every_category_in_turn_each_walked_through_by_itself():
    tasks = DoorWorld().tasks("train")
    uneven = [task for task in tasks if task.category == "red"][:1] + [
        task for task in tasks if task.category == "blue"
    ]
    order = TaskOrder(uneven, 3, balance=True, seed=0)
    chosen = [task for step in range(4) for task in order.at(step)]
    assert [task.category for task in chosen] == ["blue", "red"] * 6
    blue = [task.id for task in chosen if task.category == "blue"]
    many = len(uneven) - 1
    assert len(set(blue[:many])) == min(many, len(blue))


def test_focus_draws_the_categories_that_fail_and_walks_through_each():
    tasks = DoorWorld().tasks("train")
    order = TaskOrder(tasks, 50, balance=False, focus=0.9, seed=0)
    first = [task.category for task in order.at(0)]
    assert 15 <= first.count("blue") <= 35  # nothing is known: both alike
    for _ in range(20):
        order.note([("blue", True), ("red", False)])
    chosen = order.at(1)
    red = [task.id for task in chosen if task.category == "red"]
    assert 38 <= len(red) < 50  # 1 / (1 + 0.1) of them, by chance
    many = sum(task.category == "red" for task in tasks)
    assert len(set(red)) == many  # all of them before any comes again
    resumed = TaskOrder(tasks, 50, balance=False, focus=0.9, seed=0)
    resumed.restore(order.state())
    assert resumed.at(2) == order.at(2)


# --- imprint ---


def test_imprint_mixes_both_conditions_in_each_group(tmp_path):
    bench, loop = begun("imprint", tmp_path / "run", transfer={"skill_share": 0.5})
    for group in gathered(bench, loop):
        assert [bool(episode.skills) for episode in group] == [True, True, False, False]


def won(episode, success):
    """The same episode, with another outcome, and as if every turn had been understood."""
    return replace(episode, success=success, turns=tuple(replace(turn, valid=True) for turn in episode.turns))


def every_second(episodes):
    """Every second episode is taken for a success."""
    return [won(episode, place % 2 == 0) for place, episode in enumerate(episodes)]


def test_imprint_carries_a_readers_gain_to_the_prompt_without_the_skill(tmp_path):
    bench, loop = begun("imprint", tmp_path / "run", reward={"invalid_penalty": 0.0})
    group = gathered(bench, loop)[0]
    group = [won(episode, index in (0, 3)) for index, episode in enumerate(group)]
    (sample,) = bench.method.transferred(group)
    assert sample.prompt_ids == group[2].prompt_ids != group[0].prompt_ids
    assert sample.token_ids == group[0].token_ids
    assert sample.off_policy is not None
    assert set(sample.advantages_T[sample.mask_T]) == {0.5}  # 1 for the reader, 1 of 2 without
    assert not sample.advantages_T[~sample.mask_T].any()


def test_imprint_does_not_carry_over_what_was_not_understood_nor_the_failures(tmp_path):
    changes = {"reward": {"invalid_penalty": 0.2}, "transfer": {"weight": 3.0, "replay": 2}}
    bench, loop = begun("imprint", tmp_path / "run", **changes)
    group = [won(episode, index == 0) for index, episode in enumerate(gathered(bench, loop)[0])]
    first, *others = group[0].turns
    group[0] = replace(group[0], turns=(replace(first, valid=False), *others))
    (sample,) = bench.method.transferred(group)
    assert not sample.advantages_T[first.start : first.stop].any()
    gain = 1.0 - 0.2 / len(group[0].turns)  # nothing without
    rest = sample.advantages_T[others[0].start :][sample.mask_T[others[0].start :]]
    assert rest.tolist() == pytest.approx([3.0 * gain] * len(rest))
    assert len(bench.method.replay) == 1


def test_imprint_carries_nothing_over_once_the_task_is_known_without(tmp_path):
    bench, loop = begun("imprint", tmp_path / "run", reward={"invalid_penalty": 0.0})
    group = [won(episode, True) for episode in gathered(bench, loop)[0]]
    assert bench.method.transferred(group) == []


def test_imprint_normalises_each_condition_by_itself(tmp_path):
    bench, loop = begun("imprint", tmp_path / "run", reward={"invalid_penalty": 0.0}, transfer={"weight": 0.0})
    groups = [[won(e, i == 3) for i, e in enumerate(group)] for group in gathered(bench, loop)]
    samples = bench.method.samples(loop, groups)
    for sample, episode in zip(samples, [e for g in groups for e in g], strict=True):
        sign = 0 if episode.skills else (1 if episode.success else -1)
        assert np.sign(sample.advantages_T[sample.mask_T]).tolist() == pytest.approx([sign] * sample.trained_tokens)


def test_imprint_replays_what_readers_did_well_after_the_last_skill_is_gone(tmp_path):
    changes = {"transfer": {"replay": 6}, "reward": {"invalid_penalty": 0.0}}
    bench, loop = begun("imprint", tmp_path / "run", won=every_second, **changes)
    first = gathered(bench, loop)
    assert bench.method.replay.draw(random.Random(0)) == []
    bench.method.samples(loop, first)
    bench.method.skills = replace(bench.method.skills, active=())
    groups = gathered(bench, loop)
    assert not any(episode.skills for group in groups for episode in group)
    again = [sample for sample in bench.method.samples(loop, groups) if sample.off_policy is not None]
    kept = {episode.token_ids for group in first for episode in group if episode.skills and episode.success}
    assert len(again) == 6
    assert {sample.token_ids for sample in again} <= kept
    assert {sample.prompt_ids for sample in again} <= {group[-1].prompt_ids for group in first}


def test_with_all_gains_imprint_carries_over_every_turn_of_every_reader(tmp_path):
    changes = {"reward": {"invalid_penalty": 0.2}, "transfer": {"weight": 3.0, "gains": "all", "replay": 2}}
    bench, loop = begun("imprint", tmp_path / "run", **changes)
    group = [won(episode, index in (0, 3)) for index, episode in enumerate(gathered(bench, loop)[0])]
    group[1] = replace(group[1], turns=tuple(replace(turn, valid=False) for turn in group[1].turns))
    samples = bench.method.transferred(group)
    assert [sample.token_ids for sample in samples] == [episode.token_ids for episode in group[:2]]
    assert samples[0].advantages_T[samples[0].mask_T] == pytest.approx(3.0 * (1 - 0.5))
    assert samples[1].advantages_T[samples[1].mask_T] == pytest.approx(3.0 * (-0.2 - 0.5))
    assert len(bench.method.replay) == 1  # the success alone


# --- rltf_sd ---


def test_rltf_sd_learns_both_conditions_and_distills_either_sign(tmp_path):
    bench = start("rltf_sd", tmp_path / "run", reward={"invalid_penalty": 0.0}, won=outcomes(1, 0, 1, 0), steps=1)
    seen, learn = [], bench.parts.learner.step
    bench.parts.learner.step = lambda samples, loss, done=None: seen.append(samples) or learn(samples, loss, done=done)
    agent = bench.go()
    assert agent.shown == WITHOUT
    requests = training(bench)
    assert [bool(request.skills) for request in requests] == [True, True, False, False] * 2
    (samples,) = seen
    own, distilled = samples[:8], samples[8:]
    assert all(sample.off_policy is None for sample in own)
    # In each half of a group one of two has won: +-1 by its deviation of sqrt(1/2).
    gains = [float(sample.advantages_T[sample.mask_T][0]) for sample in own]
    assert gains == pytest.approx([0.5**0.5, -(0.5**0.5)] * 4, abs=1e-4)
    # A0 = R(y1) - 1/2, times 0.1, for a winner and a loser of each group, under the prompt of those who read nothing.
    assert [sample.token_ids for sample in distilled] == [own[place].token_ids for place in (0, 1, 4, 5)]
    assert [sample.prompt_ids for sample in distilled] == [own[place].prompt_ids for place in (2, 2, 6, 6)]
    for sample, gain in zip(distilled, (0.05, -0.05) * 2, strict=True):
        assert sample.advantages_T[sample.mask_T] == pytest.approx(gain)
        assert sample.off_policy.min_logprob == -5.0 and sample.off_policy.importance_cap is None


def test_a_distilled_token_has_the_gradient_of_its_log_prob_unless_it_is_too_unlikely(tmp_path):
    """w A0 grad log pi(y1 | x0), by autograd on the log-probs under x0, whatever they were under x1."""
    import torch

    from imprint.learning.sample import OffPolicy

    logprobs = torch.tensor([-1.0, -4.9, -5.1, -0.2], requires_grad=True)
    advantages = np.array([0.05, 0.05, 0.05, -0.05], dtype=np.float32)
    under_x1 = np.array([-0.1, -0.1, -0.1, -3.0], dtype=np.float32)
    sample = Sample((1,), (2, 3, 4, 5), np.ones(4, dtype=bool), under_x1, advantages, OffPolicy(-5.0))
    which = torch.zeros(4, dtype=torch.long)
    tensors = (torch.from_numpy(under_x1), torch.from_numpy(advantages))
    loss, metrics = losses.GrpoLoss()(Scored(logprobs, None, *tensors, which, [sample], denominator=1.0))
    loss.backward()
    assert logprobs.grad.tolist() == pytest.approx([-0.05, -0.05, 0.0, 0.05])
    assert metrics["ratio_max"] == 1.0


def test_rltf_sd_is_imprint_without_curriculum_and_replay(tmp_path):
    """An ablation of `imprint` is a recipe: what is left without two of its parts is the other method."""
    sections = {"curriculum": {"mode": "fixed", "schedule": [99]}}
    sections["transfer"] = {"weight": 0.1, "gains": "all", "min_logprob": -5, "replay": 0}
    rows = []
    for method, changes in (("rltf_sd", {}), ("imprint", sections)):
        bench = start(method, tmp_path / method, won=every_second, **changes)
        bench.go()
        rows.append([row for row in bench.rows("metrics") if "env_steps" in row])
    assert len(rows[0]) == 3 and rows[0] == rows[1]


# --- closed_rl ---


@pytest.mark.parametrize("old", ["without", "with"])
def test_closed_rl_plays_with_the_skills_and_learns_without_them(old, tmp_path):
    changes = {"prompt_swap": {"old_logprobs": old}, "reward": {"invalid_penalty": 0.0}, "steps": 1}
    bench = start("closed_rl", tmp_path / "run", won=outcomes(1, 0, 0, 1), **changes)
    learn, swap = bench.parts.learner.step, bench.method.samples
    groups, seen = [], []

    def swapped(loop, played, library):
        groups.extend(played)
        return swap(loop, played, library)

    def step(samples, loss, done=None):
        seen.extend(zip(samples, bench.parts.learner.logprobs(samples), strict=True))
        return learn(samples, loss, done=done)

    bench.method.samples, bench.parts.learner.step = swapped, step
    assert bench.go().shown == WITHOUT
    assert all(request.skills for request in training(bench))
    episodes = [episode for group in groups for episode in group]
    gains = [sign * 0.75**0.5 for sign in (1, -1, -1, 1)] * 2  # two and two: their deviation is sqrt(1/3)
    for (sample, current), episode, gain in zip(seen, episodes, gains, strict=True):
        (prompt,) = bench.parts.context.render(episode, WITHOUT.show(episode.task, LIBRARY))
        assert sample.prompt_ids == prompt.ids != episode.prompt_ids
        assert sample.token_ids == episode.token_ids and sample.off_policy is None
        assert sample.advantages_T[sample.mask_T] == pytest.approx(gain, abs=1e-4)
        sampled = np.asarray(episode.logprobs, dtype=np.float32)[sample.mask_T]
        assert sample.old_logprobs_T[sample.mask_T] == pytest.approx(current if old == "without" else sampled)
        assert not sample.old_logprobs_T[~sample.mask_T].any()
        assert current != pytest.approx(sampled, abs=1e-4)
    (row,) = (row for row in bench.rows("metrics") if "loss/rare" in row)
    assert 0 <= row["loss/rare_clipped"] <= row["loss/rare"] <= 1


def test_what_is_said_of_rare_tokens_is_what_the_clip_does_to_them():
    """By hand: of six tokens, four are rare; of two of these the ratio has gone where there is no gradient."""
    logprobs = torch.tensor([-0.1, -6.0, -6.0, -6.0, -6.0, -1.0], requires_grad=True)
    old = torch.tensor([-0.1, -7.0, -6.0, -5.5, -6.0, -3.0])
    advantages = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, 0.0])
    sample = Sample((1,), tuple(range(6)), np.ones(6, dtype=bool), old.numpy(), advantages.numpy())
    scored = Scored(logprobs, None, old, advantages, torch.zeros(6, dtype=torch.long), [sample], denominator=6.0)
    loss, metrics = losses.RareTokenLoss()(scored)
    loss.backward()
    assert metrics["rare"] == pytest.approx(4 / 6)
    assert metrics["rare_clipped"] == pytest.approx(2 / 6)  # raised by e, and lowered by e^-0.5
    assert metrics["rare_pushed_down"] == pytest.approx(1 / 6)
    assert [bool(value) for value in logprobs.grad] == [True, False, True, False, True, False]
    same, others = losses.GrpoLoss()(scored)
    assert torch.equal(same, loss) and others.items() <= metrics.items()


# --- rltf_fm ---


def test_rltf_fm_predicts_the_page_after_each_attempt_without_it(tmp_path):
    bench = start("rltf_fm", tmp_path / "run", feedback_modelling={"weight": 0.3})
    bench.method.begin(LIBRARY, bench.parts)
    loop = Loop(bench.parts, bench.method)
    groups = loop.play(lambda task, index: (WITH if index < 2 else WITHOUT).show(task, LIBRARY))
    attempt = groups[0][3]
    (sample,) = bench.method.modelled(attempt)
    assert sample.prompt_ids == attempt.prompt_ids
    size = len(attempt.token_ids)
    assert sample.token_ids[:size] == attempt.token_ids and not sample.mask_T[:size].any()
    decode = bench.policy.tokenizer.decode
    asked = decode([token for token, own in zip(sample.token_ids, sample.mask_T, strict=True) if not own][size:])
    assert attempt.turns[-1].observation in asked and "Which skill serves this task?" in asked
    page = decode([token for token, own in zip(sample.token_ids, sample.mask_T, strict=True) if own])
    for skill in WITH.show(attempt.task, LIBRARY).skills:
        assert skill.body in page
    assert page.endswith("\n") and not page.strip().endswith("Which skill serves this task?")
    assert set(sample.advantages_T[sample.mask_T].tolist()) == {np.float32(0.3)}
    # Its gradient is w times that of the cross-entropy.
    expected = (0.3 * bench.parts.learner.logprobs([replace(sample, off_policy=None)])[0]).mean()
    import torch

    from imprint.learning.scoring import score

    with torch.no_grad():
        scored = score(bench.policy, [sample])
    nll = losses.SftLoss()(replace(scored, denominator=float(sample.trained_tokens)))[0]
    assert float(nll) == pytest.approx(-expected, rel=1e-5)
    many = bench.method.carried_over(loop, groups)
    assert [one.prompt_ids for one in many] == [e.prompt_ids for group in groups for e in group if not e.skills]


def test_the_gradient_of_a_page_is_that_of_its_weighted_cross_entropy(tmp_path):
    from imprint.learning.scoring import score

    bench = start("rltf_fm", tmp_path / "run", feedback_modelling={"weight": 0.3})
    bench.method.begin(LIBRARY, bench.parts)
    loop = Loop(bench.parts, bench.method)
    group = loop.play(lambda task, index: WITHOUT.show(task, LIBRARY))[0]
    (sample,) = bench.method.modelled(group[0])
    gradients = []
    for loss in (losses.GrpoLoss(), losses.SftLoss()):
        bench.policy.model.zero_grad()
        scored = replace(score(bench.policy, [sample]), denominator=float(sample.trained_tokens))
        loss(scored)[0].backward()
        gradients.append([weight.grad.clone() for weight in bench.policy.model.parameters()])
    assert any(one.abs().max() > 0 for one in gradients[0])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_rltf_fm_learns_the_pages_and_skips_what_does_not_fit(tmp_path):
    changes = {"steps": 8, "learner": {"lr": 1e-2}, "feedback_modelling": {"weight": 1.0}}
    bench = start("rltf_fm", tmp_path / "run", **changes)
    assert bench.go().shown == WITHOUT
    nll = [row["feedback/nll"] for row in bench.rows("metrics") if "feedback/nll" in row]
    assert len(nll) == 8 and nll[-1] < 0.7 * nll[0]
    attempt = Loop(bench.parts, bench.method).play(lambda task, index: WITHOUT.show(task, LIBRARY))[0][0]
    assert bench.method.modelled(attempt)
    bench.policy.limit = len(attempt.prompt_ids) + len(attempt.token_ids) + 8
    assert bench.method.modelled(attempt) == []


def test_rltf_fm_needs_episodes_that_are_one_text():
    recipe = {"name": "t", "method": "rltf_fm", "context": {"history": "image"}}
    with pytest.raises(RecipeError, match=r"context\.history"):
        check_method(parse_recipe(recipe))


# --- siri ---


def siri(folder, **changes):
    """The method in a loop, with a group of each kind: who read succeeded once, who did not never."""
    changes["rollout"] = {**FEW["rollout"], "balance": True}  # a group of each family
    bench = start("siri", folder, reward={"invalid_penalty": 0.0}, **changes)
    bench.method.begin(LIBRARY, bench.parts)
    loop = Loop(bench.parts, bench.method)
    groups = loop.play(lambda task, index: (WITH if index < 2 else WITHOUT).show(task, LIBRARY))
    return bench.method, loop, [[won(e, index == 0) for index, e in enumerate(group)] for group in groups]


def test_siri_learns_the_actions_of_gaining_readers_weighted_by_utility_and_advantage(tmp_path):
    from imprint.learning.sample import turn_advantages_of

    internalization = {"weight": 2.0, "warm_up": 0}
    method, loop, groups = siri(
        tmp_path / "run", advantage={"unit": "step", "scale": "none"}, internalization=internalization
    )
    samples = method.carried_over(loop, groups)
    assert [sample.token_ids for sample in samples] == [group[0].token_ids for group in groups]
    assert [sample.prompt_ids for sample in samples] == [group[3].prompt_ids for group in groups]
    advantages = turn_advantages_of(groups, loop.scores(groups), loop.advantage)
    for sample, group, values in zip(samples, groups, advantages[::4], strict=True):
        assert sample.off_policy is not None
        for turn, advantage in zip(group[0].turns, values, strict=True):  # U = 1 - 0
            assert sample.advantages_T[turn.start : turn.stop] == pytest.approx(2.0 * max(0.0, advantage))
    # 3/4 of a success above the group's mean: without a step's advantage, every valid action weighs that.
    method, loop, groups = siri(tmp_path / "other", advantage={"scale": "none"}, internalization=internalization)
    first, *rest = groups[0][0].turns
    groups[0][0] = replace(groups[0][0], turns=(replace(first, valid=False), *rest))
    (sample, _) = method.carried_over(loop, groups)
    assert not sample.advantages_T[first.start : first.stop].any()
    for turn in rest:
        assert sample.advantages_T[turn.start : turn.stop] == pytest.approx(2.0 * 0.75)
    own = method.samples(loop, groups)
    assert [one.token_ids for one in own] == [e.token_ids for group in groups for e in group if not e.skills]


def test_siri_learns_from_beneficial_skills_alone(tmp_path):
    method, loop, groups = siri(tmp_path / "run", internalization={"threshold": 0.6})
    assert method.carried_over(loop, groups) == []  # a gain of 1/2 is not above 0.6
    assert method.utilities == {"general": 0.5, "red": 0.5, "blue": 0.5}
    assert method.numbers() == {"utility/blue": 0.5, "utility/general": 0.5, "utility/red": 0.5}
    method.utilities = {"general": 0.9, "red": 0.9, "blue": -0.9}
    assert {e.task.category for e in groups[0]} | {e.task.category for e in groups[1]} == {"red", "blue"}
    (sample,) = method.carried_over(loop, groups)
    (red,) = [group for group in groups if group[0].task.category == "red"]
    assert sample.token_ids == red[0].token_ids
    assert method.utilities["red"] == pytest.approx(0.8 * 0.9 + 0.2 * 0.5)
    assert method.utilities["blue"] == pytest.approx(0.8 * -0.9 + 0.2 * 0.5)


def test_siri_warms_up_without_skills(tmp_path):
    bench = start("siri", tmp_path / "run", steps=4, internalization={"warm_up": 0.5})
    bench.go()
    readers = [bool(request.skills) for request in training(bench)]
    assert readers == [False] * 16 + [True, True, False, False] * 4
    rows = [row for row in bench.rows("metrics") if "env_steps" in row]
    assert ["utility/general" in row for row in rows] == [False, False, True, True]


# --- ucob ---


def ucob(folder, winner, **changes):
    """The method in a loop, with groups of two readers and two others, of which one has succeeded."""
    bench = start("ucob", folder, reward={"invalid_penalty": 0.0}, advantage={"unit": "step"}, **changes)
    bench.method.begin(LIBRARY, bench.parts)
    loop = Loop(bench.parts, bench.method)
    groups = loop.play(lambda task, index: (WITH if index < 2 else WITHOUT).show(task, LIBRARY))
    alike = [[replace(e, anchors=tuple("state" for _ in e.turns)) for e in group] for group in groups]
    return bench, loop, [[won(e, index == winner) for index, e in enumerate(group)] for group in alike]


@pytest.mark.parametrize("winner", [0, 3])
def test_ucob_lets_the_better_branch_teach_the_other(tmp_path, winner):
    bench, loop, groups = ucob(tmp_path / "run", winner)
    own = bench.method.samples(loop, groups)
    assert len(own) == sum(len(group) for group in groups)
    taught = bench.method.carried_over(loop, groups)
    assert len(taught) == 2 * len(groups)  # `pairs` of each state
    for group in groups:
        best = group[winner]
        returns = loop.advantage.returns(best)
        place = max((n for n, turn in enumerate(best.turns) if turn.valid), key=lambda n: returns[n])
        turn = best.turns[place]
        action = best.token_ids[turn.start : turn.stop]
        mine = [one for one in taught if one.teacher.ids == (*best.prompt_ids, *best.token_ids[: turn.start])]
        assert [one.token_ids for one in mine] == [action, action]
        others = [e for e in group if bool(e.skills) is not bool(best.skills)]
        contexts = {(*e.prompt_ids, *e.token_ids[: t.start]) for e in others for t in e.turns}
        assert {one.prompt_ids for one in mine} <= contexts
    readers_learn = bench.method.numbers()["branches/taught_with"]
    assert readers_learn == (0 if winner == 0 else len(taught))


def test_ucob_has_no_pairs_where_states_differ_or_the_gap_is_small(tmp_path):
    bench, loop, groups = ucob(tmp_path / "run", 0)
    bench.method.samples(loop, groups)
    apart = [
        [replace(e, anchors=tuple(f"{n} {t}" for t in range(len(e.turns)))) for n, e in enumerate(group)]
        for group in groups
    ]
    assert bench.method.carried_over(loop, apart) == []
    lost = [[won(e, False) for e in group] for group in groups]
    assert bench.method.carried_over(loop, lost) == []
    nothing_valid = [
        [replace(e, turns=tuple(replace(t, valid=False) for t in e.turns)) for e in group] for group in groups
    ]
    assert bench.method.carried_over(loop, nothing_valid) == []


def test_the_weight_of_a_pair_grows_with_its_gap():
    from imprint.methods.weights.ucob import weight_of

    assert weight_of(0.0) == 0.0
    assert weight_of(0.2) == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert weight_of(1.0) == pytest.approx(2 / (1 + np.exp(-5.0)))  # v is at most 2


def test_the_loss_of_ucob_is_grpos_and_the_mean_divergence_over_the_taught_tokens(tmp_path):
    import torch

    from imprint.learning.scoring import score

    bench, loop, groups = ucob(tmp_path / "run", 0, ucob={"coef": 0.5, "top_k": None})
    own = bench.method.samples(loop, groups)
    taught = bench.method.carried_over(loop, groups)
    objective, learner = bench.method.objective, bench.parts.learner
    batch = [*own, *taught]

    def gradient(loss, samples):
        bench.policy.model.zero_grad()
        denominator = loss.denominator(samples)
        loss(replace(learner._scored(samples, loss), denominator=denominator))[0].backward()
        return [weight.grad.clone() for weight in bench.policy.model.parameters()]

    together = gradient(objective, batch)
    grpo = gradient(objective.policy, own)
    with torch.no_grad():
        reads = torch.cat(
            [score(bench.policy, [s.as_teacher_reads()], with_distribution=True).logprobs_MV for s in taught]
        )
    bench.policy.model.zero_grad()
    said = torch.cat([score(bench.policy, [s], with_distribution=True).logprobs_MV for s in taught])
    gaps = [
        sample.advantages_T[0] * sum(one.trained_tokens for one in taught) / objective.denominator(own)
        for sample in taught
    ]
    weights = torch.cat([torch.full((s.trained_tokens,), float(w)) for s, w in zip(taught, gaps, strict=True)])
    (0.5 * (weights * (reads.exp() * (reads - said)).sum(-1)).mean()).backward()
    pairs = [weight.grad for weight in bench.policy.model.parameters()]
    for whole, part, other in zip(together, grpo, pairs, strict=True):
        np.testing.assert_allclose(whole, part + other, atol=1e-6)
    row = learner.step(batch, objective)
    assert row["loss/taught"] == sum(one.trained_tokens for one in taught)
    assert row["loss/divergence"] > 0


# --- closed book ---


def test_closed_book_learns_readers_successes_without_the_skill_and_open_book_with_it(tmp_path):
    prompts = {}
    for method in ("closed_book", "open_book"):
        bench = start(method, tmp_path / method, won=every_second, steps=2, imitation={"epochs": 3, "batch": 2})
        agent = bench.go()
        assert all(request.skills for request in training(bench))
        assert len(bench.method.kept) == 8  # every second of 2 x 2 x 4 episodes
        assert agent.shown == (WITHOUT if method == "closed_book" else WITH)
        prompts[method] = [sample.prompt_ids for sample in bench.method.kept]
        rows = bench.rows("metrics")
        assert [row["imitation/kept"] for row in rows if "imitation/kept" in row] == [4, 8]
        learned = [row["loss/nll"] for row in rows if "loss/nll" in row]
        assert len(learned) == 3 and learned[-1] < learned[0]
        steps = sorted({row["step"] for row in bench.rows("evaluations") if row["split"] == "validation"})
        assert steps == [0, 5]  # before, and after the last epoch
        assert bench.run.status() == {
            "state": "finished",
            "step": 5,
            "env_steps": bench.rows("trials")[-1]["env_steps"],
        }
    assert all(len(open_) > len(closed) for closed, open_ in zip(*prompts.values(), strict=True))


def test_closed_book_validates_after_each_round_and_each_epoch_of_which_the_best_is_kept(tmp_path):
    imitation = {"epochs": 2, "batch": 2, "rounds": 2}
    for best, expected in ((None, [0, 4, 8]), ("without", [0, 3, 4, 7, 8])):
        bench = start(
            "closed_book", tmp_path / str(best), won=every_second, steps=4, imitation=imitation, keep_best=best
        )
        bench.go()
        rows = bench.rows("evaluations")
        assert sorted({row["step"] for row in rows if row["split"] == "validation"}) == expected


@pytest.mark.parametrize("method", ["closed_book", "open_book", "context_distillation", "opsd"])
def test_methods_that_compare_no_episodes_learn_from_groups_of_one(method, tmp_path):
    rollout = {"tasks": 2, "group": 1, "max_new_tokens": 4}
    bench = start(method, tmp_path / "run", won=every_second, steps=2, rollout=rollout)
    bench.go()
    assert len(training(bench)) == 2 * 2
    assert sum(row.get("loss/samples", 0) for row in bench.rows("metrics")) > 0


def test_closed_book_weighs_valid_actions_alone(tmp_path):
    bench = start("closed_book", tmp_path / "run", steps=1, imitation={"epochs": 1}, won=every_second)
    bench.go()
    loss = losses.SftLoss()
    sample = bench.method.kept[0]
    assert set(sample.advantages_T[sample.mask_T]) == {1.0}
    assert loss.denominator([sample]) == sample.trained_tokens


def test_a_round_of_closed_book_is_played_by_the_policy_that_the_last_one_made(tmp_path):
    imitation = {"epochs": 3, "batch": 2, "rounds": 2}
    bench = start("closed_book", tmp_path / "run", won=every_second, steps=4, imitation=imitation)
    before = [weight.clone() for weight in bench.parts.learner.weights]
    changed = []  # whether the weights are other than at the start, by step of training
    play = bench.rollout.play

    def noted(requests, *given):
        if next(iter(requests)).task.split == "train":
            changed.append(
                not all(torch.equal(old, new) for old, new in zip(before, bench.parts.learner.weights, strict=True))
            )
        return play(requests, *given)

    bench.rollout.play = noted
    bench.go()
    rows = bench.rows("metrics")
    kept = [row.get("imitation/kept") for row in rows if "imitation/kept" in row or "loss/nll" in row]
    assert kept == [4, 8, None, None, None, 12, 16, None, None, None]
    assert changed == [False, False, True, True]


@pytest.mark.parametrize("method", ["closed_book", "open_book"])
def test_more_rounds_than_steps_are_refused(method):
    with pytest.raises(RecipeError, match=r"imitation\.rounds: 4 rounds cannot share 3 steps"):
        check_method(parse_recipe({"name": "t", "method": method, "steps": 3, "imitation": {"rounds": 4}}))


def test_open_book_refuses_to_keep_reading_which_it_learns_anyway():
    with pytest.raises(RecipeError, match=r"imitation\.reading"):
        check_method(parse_recipe({"name": "t", "method": "open_book", "imitation": {"reading": 0.5}}))


def test_closed_book_learns_readers_prompts_too_if_asked(tmp_path):
    imitation = {"epochs": 1, "batch": 100, "reading": 0.5}
    bench = start("closed_book", tmp_path / "run", won=every_second, steps=2, imitation=imitation)
    bench.go()
    assert [len(sample.prompt_ids) for sample in bench.method.kept] != [
        len(one.prompt_ids) for one in bench.method.read
    ]
    assert [sample.token_ids for sample in bench.method.kept] == [sample.token_ids for sample in bench.method.read]
    (learned,) = (row["loss/samples"] for row in bench.rows("metrics") if "loss/nll" in row)
    assert learned == len(bench.method.kept) * 1.5


# --- resume ---


@pytest.mark.parametrize(
    ("method", "changes", "stop"),
    [
        ("imprint", {"transfer": {"replay": 6, "weight": 2.0, "importance_cap": 2.0}}, 2),
        ("skill0", {}, 2),
        ("grpo", {}, 3),
        ("grpo", {"advantage": {"unit": "step"}}, 3),
        ("rltf_sd", {}, 2),
        ("rltf_fm", {}, 2),
        ("siri", {"advantage": {"unit": "step"}, "internalization": {"warm_up": 0.25}}, 2),
        ("ucob", {"advantage": {"unit": "step"}, "ucob": {"coef": 1.0, "top_k": 9}}, 2),
        ("closed_rl", {"learner": {"lr": 1e-3, "minibatches": 2}}, 2),
        ("closed_rl", {"prompt_swap": {"old_logprobs": "with"}}, 2),
        ("closed_book", {"evaluation": {"interval": 1, "tasks": 4, "test_tasks": 4, "probe": 3}}, 2),
        ("closed_book", {"imitation": {"epochs": 3, "batch": 3}}, 2),
        ("closed_book", {"imitation": {"epochs": 3, "batch": 3}}, 6),
        ("context_distillation", {"imitation": {"epochs": 3, "batch": 3}}, 2),
        ("context_distillation", {"imitation": {"epochs": 3, "batch": 3}, "context_distillation": {"top_k": 9}}, 6),
        ("opsd", {}, 2),
        ("opsd", {"opsd": {"teacher": "ema", "decay": 0.5, "beta": 0.5, "top_k": 9}}, 3),
        ("opsd", {"opsd": {"teacher": "live"}}, 2),
        ("sdar", {"sdar": {"coef": 0.5}, "learner": {"lr": 1e-3, "minibatches": 2}}, 2),
        ("closed_book", {"imitation": {"epochs": 2, "batch": 3, "rounds": 2, "reading": 0.5}}, 3),
        ("closed_book", {"rollout": {"tasks": 3, "group": 2, "focus": 0.9}}, 2),
        ("closed_book", {"imitation": {"epochs": 2, "batch": 3, "rounds": 2, "reading": 0.5}}, 5),
    ],
)
def test_a_resumed_run_ends_like_one_that_was_never_stopped(method, changes, stop, tmp_path, monkeypatch):
    changes = {**changes, "checkpoint_interval": 1, "steps": 4}
    whole = start(method, tmp_path / "whole", won=every_second, **changes)
    whole.go()
    save = Loop._checkpoint

    def killed(loop):
        save(loop)
        if loop.updates == stop:
            raise KeyboardInterrupt

    broken = start(method, tmp_path / "broken", won=every_second, **changes)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            broken.go()
    broken.run.close()
    resumed = start(method, tmp_path / "broken", resume=True, won=every_second, **changes)
    resumed.go()
    if method == "imprint":
        assert len(resumed.method.replay) == len(whole.method.replay) > 0
    for name in ("metrics", "trials", "evaluations", "curriculum"):
        assert resumed.rows(name) == whole.rows(name)


# --- the probe ---


def test_the_probe_follows_what_readers_did_under_the_prompt_without_skills(tmp_path):
    evaluation = {"interval": 1, "tasks": 4, "test_tasks": 0, "probe": 2}
    bench = start("closed_book", tmp_path / "run", evaluation=evaluation, steps=2, imitation={"epochs": 9, "batch": 4})
    play, read = bench.rollout.play, {}

    def won(requests, *more):
        episodes = [
            replace(episode, success=True, turns=tuple(replace(turn, valid=True) for turn in episode.turns))
            for episode in play(requests, *more)
        ]
        read.update({episode.token_ids: episode for episode in episodes if episode.skills})
        return episodes

    bench.rollout.play = won
    bench.go()
    rows = [row for row in bench.rows("metrics") if "probe/with_skills_logprob" in row]
    assert {0, 11} <= {row["step"] for row in rows}
    probe = ClosedBookProbe(bench.run.path / "probe.pt", 2, bench.parts.context)
    for sample in probe.samples:
        episode = read[sample.token_ids]
        (prompt,) = bench.parts.context.render(episode, WITHOUT.show(episode.task, LIBRARY))
        assert sample.prompt_ids == prompt.ids != episode.prompt_ids
    assert len(probe.samples) == 2
    after = probe.measure(bench.parts.learner)
    assert after["probe/with_skills_logprob"] == pytest.approx(rows[-1]["probe/with_skills_logprob"], abs=1e-5)
    assert rows[-1]["probe/with_skills_logprob"] != rows[0]["probe/with_skills_logprob"]  # of the policy as it is
    assert 0 <= after["probe/with_skills_rare"] <= 1


def test_a_damaged_probe_is_told_of(tmp_path):
    (tmp_path / "probe.pt").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"probe\.pt"):
        ClosedBookProbe(tmp_path / "probe.pt", 2, None)


def test_where_nothing_succeeds_with_the_skills_there_is_nothing_to_follow(tmp_path):
    evaluation = {"interval": 1, "tasks": 4, "test_tasks": 0, "probe": 2}
    bench = start("grpo", tmp_path / "run", evaluation=evaluation, steps=1)
    play = bench.rollout.play
    bench.rollout.play = lambda *given: [replace(episode, success=False) for episode in play(*given)]
    bench.go()
    assert not any(name.startswith("probe/") for row in bench.rows("metrics") for name in row)


def test_tokens_without_an_advantage_have_no_gradient():
    none, some = (
        Sample((1,), (2, 3, 4), np.array([True, True, False]), np.zeros(3, np.float32), np.array(values, np.float32))
        for values in ([0, 0, 0], [0.5, 0, 0])
    )
    assert gradient_tokens([none, some]) == 0.25
    assert gradient_tokens([]) == 0

"""What each method shows and learns from, in a toy world with a random policy."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from imprint.context.config import ContextConfig
from imprint.context.prompt import Context
from imprint.engine.local import LocalEngine
from imprint.errors import RecipeError
from imprint.learning.learner import Learner
from imprint.measure.evaluate import Evaluator
from imprint.methods.in_context.zero_shot import ZeroShot
from imprint.methods.weights.grpo import Grpo
from imprint.methods.weights.imprint import Imprint
from imprint.methods.weights.skill0 import Skill0
from imprint.methods.weights.skillrl import SkillRL
from imprint.models.local.sampler import Sampling
from imprint.recipe import parse_recipe
from imprint.rollout.tokens import Rollout
from imprint.runs.run import Run
from imprint.skills.library import SkillLibrary
from imprint.skills.skill import Skill
from imprint.support.progress import Progress
from tiny import DoorWorld, tiny_policy

LIBRARY = SkillLibrary(
    [
        Skill("general", "All.", "go north", metadata={"tasks": "*"}),
        Skill("blue", "Blue.", "open the blue door", metadata={"tasks": "blue"}),
        Skill("red", "Red.", "open the red door", metadata={"tasks": "red"}),
    ]
)


def make_engine(**changes):
    """An engine over the toy world, put together by hand."""
    values = {
        "name": "t",
        "method": "skill0",
        "steps": 3,
        "rollout": {"tasks": 2, "group": 4, "max_new_tokens": 4},
        "learner": {"lr": 1e-3},
        "evaluation": {"interval": 1, "tasks": 4, "test_tasks": 4},
        "curriculum": {"interval": 1},
        **changes,
    }
    recipe = parse_recipe(values)
    world, policy = DoorWorld(), tiny_policy()
    context = Context(policy, ContextConfig(style="plain"))
    rollout = Rollout(policy, world, context)
    parts = {
        "recipe": recipe,
        "world": world,
        "library": LIBRARY,
        "policy": policy,
        "rollout": rollout,
        "sampling": Sampling(1.0, 4),
        "evaluator": Evaluator(rollout, LIBRARY, Sampling(0.4, 4), recipe.seed),
    }
    engine = SimpleNamespace(**parts)
    engine.learner = lambda: Learner(policy, recipe.learner, total_steps=recipe.steps)
    engine.draw = None  # its context has no pictures
    engine.meter = None  # nobody counts what its model is asked
    engine.tasks = lambda split, count=None: LocalEngine.tasks(engine, split, count)
    return engine


def start(kind, tmp_path, **changes):
    engine = make_engine(**changes)
    run = Run.create(tmp_path / "run", engine.recipe.to_yaml())
    return kind(engine, run, Progress("t", quiet=True))


def shown(trainer):
    return {episode.skills for group in trainer.gather() for episode in group}


def test_skill0_shows_what_is_active_and_serves_the_task(tmp_path):
    trainer = start(Skill0, tmp_path)
    assert shown(trainer) <= {("general", "red"), ("general", "blue")}
    trainer.curriculum = trainer.curriculum.from_record(trainer.curriculum.to_record() | {"active": ["red"]})
    assert shown(trainer) <= {("red",), ()}


def test_grpo_never_shows_a_skill_and_skillrl_always_does(tmp_path):
    assert shown(start(Grpo, tmp_path / "a")) == {()}
    trainer = start(SkillRL, tmp_path / "b")
    trainer.withdraw(None)
    assert all(len(skills) == 2 for skills in shown(trainer))


@pytest.mark.parametrize("kind", [Grpo, SkillRL, ZeroShot])
def test_a_method_without_a_curriculum_needs_no_steps_for_its_stages(kind, tmp_path):
    trainer = start(kind, tmp_path, steps=1, curriculum={"stages": 3, "interval": 1})
    trainer.train()
    assert trainer.run.status()["state"] == "finished" and trainer.run.rows("curriculum") == []
    with pytest.raises(RecipeError, match="1 training steps cannot be cut into 3 stages"):
        start(Skill0, tmp_path / "other", steps=1, curriculum={"stages": 3, "interval": 1})


def test_the_curriculum_of_a_whole_run_ends_without_skills(tmp_path):
    trainer = start(Skill0, tmp_path)
    trainer.train()
    rows = trainer.run.rows("metrics")
    active = [row["curriculum/active"] for row in rows if "curriculum/active" in row]
    assert active[0] <= 3
    assert active[-1] == 0
    assert trainer.run.status()["state"] == "finished"
    evaluations = trainer.run.rows("evaluations")
    assert {row["step"] for row in evaluations if row["split"] == "validation"} == {0, 1, 2, 3}
    assert {(row["arm"], row["family"]) for row in evaluations if row["split"] == "test"} == {
        (arm, family) for arm in ("with", "without") for family in ("all", "red", "blue")
    }
    decided = {(row["step"], row["skill"]) for row in trainer.run.rows("curriculum")}
    assert {(1, name) for name in LIBRARY.names} <= decided


def test_a_budget_of_environment_steps_ends_training_and_sets_the_pace(tmp_path):
    changes = {"evaluation": {"interval": 3, "tasks": 4, "test_tasks": 4}, "learner": {"lr": 1e-3, "decay": "linear"}}
    trainer = start(Lucky, tmp_path, env_steps=200, steps=9, **changes)
    trainer.train()
    rows = [row for row in trainer.run.rows("metrics") if "env_steps" in row]
    assert rows[-1]["env_steps"] >= 200 > rows[-2]["env_steps"]
    assert trainer.updates == len(rows) != 9
    began = [0, *(int(row["env_steps"]) for row in rows)]
    for row, used in zip(rows, began, strict=False):  # the learning rate falls with the budget, not with the updates
        assert row["lr"] == pytest.approx(1e-3 * (1 - 0.9 * (9 * used // 200) / 9))
    validations = {row["env_steps"] for row in trainer.run.rows("evaluations") if row["split"] == "validation"}
    assert len(validations) == 4  # at the start, after each third, and at the end
    stages = [(row["env_steps"], row["curriculum/active"]) for row in rows]
    assert all(active == 0 for used, active in stages if used > 134 + 32)


def test_tasks_are_walked_through_before_any_comes_again(tmp_path):
    trainer = start(Skill0, tmp_path)
    ids = [task.id for step in range(8) for task in trainer.tasks_of(step)]
    assert len(set(ids[:8])) == 8
    assert sorted(ids[:8]) == sorted(ids[8:])
    assert ids[:8] != ids[8:]


def test_balanced_tasks_come_from_every_category_in_turn_each_walked_through_by_itself(tmp_path):
    trainer = start(Skill0, tmp_path, rollout={"tasks": 3, "group": 2, "balance": True})
    tasks = list(trainer.train_tasks)
    trainer.train_tasks = [task for task in tasks if task.category == "red"][:1] + [
        task for task in tasks if task.category == "blue"
    ]
    chosen = [task for step in range(4) for task in trainer.tasks_of(step)]
    assert [task.category for task in chosen] == ["blue", "red"] * 6
    blue = [task.id for task in chosen if task.category == "blue"]
    many = len(trainer.train_tasks) - 1
    assert len(set(blue[:many])) == min(many, len(blue))


def test_imprint_mixes_both_arms_in_each_group(tmp_path):
    trainer = start(Imprint, tmp_path, transfer={"skill_share": 0.5})
    for group in trainer.gather():
        assert [episode.arm for episode in group] == ["with", "with", "without", "without"]


def won(episode, success):
    """The same episode, with another outcome, and as if every turn had been understood."""
    return replace(episode, success=success, turns=tuple(replace(turn, valid=True) for turn in episode.turns))


def test_imprint_carries_a_readers_gain_to_the_prompt_without_the_page(tmp_path):
    trainer = start(Imprint, tmp_path, reward={"invalid_penalty": 0.0})
    group = trainer.gather()[0]
    group = [won(episode, index in (0, 3)) for index, episode in enumerate(group)]
    transferred = trainer.transferred(group)
    assert len(transferred) == 1
    (sample,) = transferred
    assert sample.prompt_ids == group[2].prompt_ids != group[0].prompt_ids
    assert sample.token_ids == group[0].token_ids
    assert sample.transfer is not None
    assert set(sample.advantages_T[sample.mask_T]) == {0.5}  # 1 for the reader, 1 of 2 by heart
    assert not sample.advantages_T[~sample.mask_T].any()


def test_imprint_does_not_carry_over_what_was_not_understood_nor_the_failures(tmp_path):
    trainer = start(Imprint, tmp_path, reward={"invalid_penalty": 0.2}, transfer={"weight": 3.0, "replay": 2})
    group = [won(episode, index == 0) for index, episode in enumerate(trainer.gather()[0])]
    first, *others = group[0].turns
    group[0] = replace(group[0], turns=(replace(first, valid=False), *others))
    (sample,) = trainer.transferred(group)
    assert not sample.advantages_T[first.start : first.stop].any()
    gain = 1.0 - 0.2 / len(group[0].turns)  # nothing by heart
    rest = sample.advantages_T[others[0].start :][sample.mask_T[others[0].start :]]
    assert rest.tolist() == pytest.approx([3.0 * gain] * len(rest))
    assert len(trainer.replay) == 1


def test_imprint_carries_nothing_over_once_the_task_is_known_by_heart(tmp_path):
    trainer = start(Imprint, tmp_path, reward={"invalid_penalty": 0.0})
    group = [won(episode, True) for episode in trainer.gather()[0]]
    assert trainer.transferred(group) == []


def test_imprint_normalises_each_arm_by_itself(tmp_path):
    trainer = start(Imprint, tmp_path, reward={"invalid_penalty": 0.0}, transfer={"weight": 0.0})
    groups = [[won(e, i == 3) for i, e in enumerate(group)] for group in trainer.gather()]
    for sample, episode in zip(trainer.samples(groups), [e for g in groups for e in g], strict=True):
        sign = 0 if episode.arm == "with" else (1 if episode.success else -1)
        assert np.sign(sample.advantages_T[sample.mask_T]).tolist() == pytest.approx([sign] * sample.trained_tokens)


class Lucky(Imprint):
    """Every second episode is taken for a success."""

    def gather(self):
        return [[won(episode, index % 2 == 0) for index, episode in enumerate(group)] for group in super().gather()]


def test_imprint_rehearses_what_readers_did_well_after_the_last_page_is_gone(tmp_path):
    trainer = start(Lucky, tmp_path, transfer={"replay": 6}, reward={"invalid_penalty": 0.0})
    first = trainer.gather()
    assert trainer.replay.draw(random.Random(0)) == []
    trainer.samples(first)
    trainer.curriculum = trainer.curriculum.from_record(trainer.curriculum.to_record() | {"active": []})
    groups = trainer.gather()
    assert {episode.arm for group in groups for episode in group} == {"without"}
    again = [sample for sample in trainer.samples(groups) if sample.transfer is not None]
    kept = {episode.token_ids for group in first for episode in group if episode.arm == "with" and episode.success}
    assert len(again) == 6
    assert {sample.token_ids for sample in again} <= kept
    assert {sample.prompt_ids for sample in again} <= {group[-1].prompt_ids for group in first}


def test_imprint_resumes_with_what_it_remembered(tmp_path):
    changes = {"transfer": {"replay": 6, "weight": 2.0, "importance_cap": 2.0}, "checkpoint_interval": 1, "steps": 4}
    whole = start(Lucky, tmp_path / "whole", **changes)
    whole.train()
    broken = start(Lucky, tmp_path / "broken", **changes)
    save = broken.checkpoint

    def killed(before):
        save(before)
        if broken.updates == 2:
            raise KeyboardInterrupt

    broken.checkpoint = killed
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    broken.run.close()
    resumed = Lucky(
        make_engine(**changes),
        Run.create(tmp_path / "broken" / "run", broken.recipe.to_yaml(), resume=True),
        Progress("t", quiet=True),
    )
    resumed.train()
    assert len(resumed.replay) == len(whole.replay) > 0
    for name in ("metrics", "evaluations", "curriculum"):
        assert resumed.run.rows(name) == whole.run.rows(name)

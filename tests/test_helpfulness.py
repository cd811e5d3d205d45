"""`imprint skills helpfulness` on a local model: what it plays, and that arms share their episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from imprint.cli import app
from imprint.measurement.evaluate import Evaluator
from imprint.models.local.sampler import LocalSampler
from imprint.rollout.tokens import TokenRollout
from imprint.skills.library import load_library
from tiny import tiny_policy

NAMES = load_library("household").names


@pytest.mark.parametrize(
    ("kind", "episodes"),
    [
        # 6 tasks, one of a family, each served by the general page and one of its own; 2 seeds.
        ("leave_one_out", 2 * 6 * 3),  # both, and each alone
        ("skill_vs_none", 2 * 6 * 3),  # each alone, and none
        ("all_vs_none", 2 * 6 * 2),
    ],
)
def test_every_skill_is_measured_and_no_episode_is_played_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, episodes: int
) -> None:
    tiny_policy(max_context=4096).save(tmp_path / "model")
    recipe = {
        "name": "local",
        "method": "zero_shot",
        "env": {"max_turns": 1, "train": 6, "validation": 6, "test": 6},
        "rollout": {"max_new_tokens": 2},
        "evaluation": {"tasks": 6},
        "device": "cpu",
    }
    (tmp_path / "local.yaml").write_text(yaml.safe_dump(recipe))
    played: list[Any] = []
    play = TokenRollout.play

    def counted(self: TokenRollout, requests: Any, *more: Any) -> Any:
        played.extend((one.task.id, one.seed, *(skill.name for skill in one.skills)) for one in requests)
        return play(self, requests, *more)

    monkeypatch.setattr(TokenRollout, "play", counted)
    output = tmp_path / "worth.json"
    options = ["--recipe", tmp_path / "local.yaml", "--kind", kind, "--seeds", "0,5", "--out", output, "--quiet"]
    arguments = ["skills", "helpfulness", tmp_path / "model", *options]
    result = CliRunner(env={"COLUMNS": "140"}).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    assert len(played) == len(set(played)) == episodes
    content = json.loads(output.read_text())
    whole = {row["skill"]: row for row in content["skills"] if row["family"] == "all"}
    assert tuple(whole) == NAMES and content["usage"] is None and content["kind"] == kind
    for name, row in whole.items():
        assert row["evidence"]["n"] == (12 if name == "household-general" else 2)
        assert row["page_tokens"] > 100 and row["episode_cost"] is None
    assert "cost" not in result.stdout


def test_the_pairs_of_a_skill_are_trials_of_the_tasks_it_serves_under_two_conditions() -> None:
    from imprint.context.config import ContextConfig
    from imprint.context.prompt import Context
    from imprint.models.sampling import Sampling
    from imprint.skills.library import SkillLibrary
    from imprint.skills.skill import Skill
    from tiny import DoorWorld

    policy, world = tiny_policy(), DoorWorld()
    library = SkillLibrary([Skill("red", "Red.", "open the red door", metadata={"tasks": "red"})])
    rollout = TokenRollout(LocalSampler(policy), world, Context(policy, ContextConfig(style="plain")))
    evaluator = Evaluator(rollout, library, Sampling(1.0, 4), 0)
    tasks = world.tasks("test")
    pairs = evaluator.pairs(tasks, ("red",), ("red",), "leave_one_out")["red"]
    assert [with_.family for with_, _ in pairs] == ["red"] * 4
    assert {(a.condition, b.condition, a.split) for a, b in pairs} == {("active", "active-red", "evidence")}
    assert all((a.task, a.seed) == (b.task, b.seed) and a.skills == ("red",) and not b.skills for a, b in pairs)
    (other,) = {(a.condition, b.condition) for a, b in evaluator.pairs(tasks, (), ("red",), "all_vs_none")["red"]}
    assert other == ("active+red", "without")

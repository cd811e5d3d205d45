"""The Dynamic Curriculum: budgets, stages, Algorithm 1 on hand-made tables, resume, and its laws."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from imprint.errors import CheckpointError, ImprintError, LibraryError, RecipeError
from imprint.measurement.helpfulness import SkillEvidence, arms, helpfulness_from_pairs
from imprint.methods.weights.curriculum import (
    CurriculumConfig,
    CurriculumState,
    budget,
    budget_at,
    candidates,
    decide,
    enforce,
    evidence_due,
    initial_state,
    stage_at,
)

SIX = ("clean", "cool", "general", "heat", "look", "pick")
TOTAL = 180


def fact(skill: str, helpfulness: float, n: int = 20, kind: str = "leave_one_out") -> SkillEvidence:
    return SkillEvidence(skill, n, 0, n, helpfulness, (helpfulness - 0.1, helpfulness + 0.1), kind)


def table(**helpfulness: float) -> dict[str, SkillEvidence]:
    return {skill: fact(skill, value) for skill, value in helpfulness.items()}


def start(**settings: object) -> tuple[CurriculumState, CurriculumConfig]:
    config = CurriculumConfig(**settings)
    return initial_state(SIX, total_steps=TOTAL, config=config), config


def look(state, evidence, step, config, seed=0):
    return decide(state, evidence, step=step, total_steps=TOTAL, config=config, seed=seed)


def last(state: CurriculumState, skill: str):
    return next(decision for decision in reversed(state.history) if decision.skill == skill)


# --- budgets and stages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skills", "stages", "expected"),
    [
        (6, 3, [6, 3, 0]),
        (7, 3, [7, 4, 0]),
        (5, 3, [5, 3, 0]),
        (6, 5, [6, 5, 3, 2, 0]),
        (1, 3, [1, 1, 0]),
        (0, 3, [0, 0, 0]),
        (4, 2, [4, 0]),
        (6, 1, [0]),
    ],
)
def test_budgets(skills, stages, expected):
    assert [budget(stage, stages, skills) for stage in range(1, stages + 1)] == expected


@pytest.mark.parametrize("stage", [-1, 0, 4])
def test_there_is_no_budget_outside_the_stages(stage):
    with pytest.raises(ValueError):
        budget(stage, 3, 6)


def test_stages_of_the_paper():
    expected = {0: 1, 1: 1, 59: 1, 60: 2, 119: 2, 120: 3, 179: 3, 180: 3, 10_000: 3}
    assert {step: stage_at(step, 180, 3) for step in expected} == expected


def test_the_remainder_goes_to_the_last_stage():
    assert [stage_at(step, 11, 3) for step in range(11)] == [1] * 3 + [2] * 3 + [3] * 5


def test_impossible_stages_are_refused():
    with pytest.raises(ValueError):
        stage_at(-1, 180, 3)
    with pytest.raises(RecipeError, match="2 training steps cannot be cut into 3 stages"):
        stage_at(0, 2, 3)


def test_a_schedule_replaces_the_formula():
    config = CurriculumConfig(schedule=[9, 2])
    assert config.stage_count == 2
    found = [budget_at(step, skills=6, total_steps=10, config=config) for step in range(10)]
    assert found == [6] * 5 + [2] * 5  # never more than there are skills


def test_evidence_is_due_every_interval_but_not_at_the_start_nor_without_a_budget():
    config = CurriculumConfig()
    due = [s for s in range(TOTAL) if evidence_due(s, skills=SIX, total_steps=TOTAL, config=config)]
    assert due == list(range(10, 120, 10))
    fixed = CurriculumConfig(mode="fixed")
    assert not any(evidence_due(s, skills=SIX, total_steps=TOTAL, config=fixed) for s in range(TOTAL))


@pytest.mark.parametrize(
    "wrong",
    [{"schedule": [3, -1]}, {"schedule": [3], "stages": 2}, {"schedule": []}, {"interval": 0}, {"budget": 3}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        CurriculumConfig(**wrong)


# --- evidence -----------------------------------------------------------------------------------------------


def test_helpfulness_counts_pairs():
    found = helpfulness_from_pairs("heat", [True, True, True, False], [True, False, False, False], "skill_vs_none")
    assert (found.with_successes, found.without_successes, found.n) == (3, 1, 4)
    assert found.helpfulness == pytest.approx(0.5)
    assert found.interval[0] < 0.5 < found.interval[1]


def test_helpfulness_without_pairs_is_no_evidence_and_unequal_arms_an_error():
    assert helpfulness_from_pairs("heat", [], [], "leave_one_out").n == 0
    with pytest.raises(ImprintError, match="no pairs"):
        helpfulness_from_pairs("heat", [True], [], "leave_one_out")


@pytest.mark.parametrize("values", [(5, 0, 4, 0.5), (0, -1, 4, 0.5), (1, 1, 4, float("nan")), (1, 1, 4, 1.5)])
def test_impossible_evidence_is_refused(values):
    with pytest.raises(ImprintError, match="impossible"):
        SkillEvidence("heat", *values, (-1.0, 1.0), "leave_one_out")


def test_arms_of_an_active_and_of_a_withdrawn_skill():
    active = ("general", "heat")
    assert arms("leave_one_out", active, "heat") == (("general", "heat"), ("general",))
    assert arms("leave_one_out", active, "cool") == (("general", "heat", "cool"), ("general", "heat"))
    assert arms("skill_vs_none", active, "heat") == (("heat",), ())
    assert arms("all_vs_none", active, "heat") == (("general", "heat"), ())
    assert "cool" in arms("all_vs_none", active, "cool")[0]  # judged by its own presence, not by the others'
    with pytest.raises(RecipeError):
        arms("other", active, "heat")  # type: ignore[arg-type]


# --- Algorithm 1 --------------------------------------------------------------------------------------------


def test_training_starts_with_every_skill():
    state, config = start()
    assert state.active == SIX
    assert enforce(state, step=0, total_steps=TOTAL, config=config).active == SIX


def test_filter_rank_select():
    state, config = start()
    evidence = table(clean=0.2, cool=0.0, general=0.3, heat=-0.1, look=0.05, pick=0.1)
    first = look(state, evidence, 10, config)
    assert first.active == ("general", "clean", "pick", "look")  # 0 does not help, nor does less
    second = look(state, evidence, 60, config)
    assert second.active == ("general", "clean", "pick")
    assert {d.skill: d.action for d in second.history} == {
        "general": "keep",
        "clean": "keep",
        "pick": "keep",
        "look": "withdraw",
        "cool": "withdraw",
        "heat": "withdraw",
    }
    assert last(second, "look").reason == "helpfulness +0.050 > 0 over 20 pairs; stage 2 of 3 allows 3 skills"
    assert last(second, "heat").reason == "helpfulness -0.100 <= 0 over 20 pairs"
    assert (last(second, "clean").helpfulness, last(second, "clean").interval) == (
        0.2,
        pytest.approx((0.1, 0.3)),
    )
    assert (last(second, "clean").budget, last(second, "clean").stage, last(second, "clean").step) == (
        3,
        2,
        60,
    )


def test_ties_go_by_name():
    state, config = start()
    assert look(state, table(**dict.fromkeys(SIX, 0.1)), 60, config).active == ("clean", "cool", "general")


def test_threshold():
    state, config = start(threshold=0.15)
    assert look(state, table(clean=0.2, cool=0.15, general=0.1), 10, config).active[0] == "clean"
    assert last(look(state, table(cool=0.15), 10, config), "cool").action == "withdraw"


def test_missing_evidence_abstains_behind_what_is_known_to_help():
    state, config = start()
    evidence = table(pick=0.1, look=-0.2) | {"heat": fact("heat", 0.0, n=0), "cool": None}
    found = look(state, evidence, 60, config)
    assert found.active == ("pick", "clean", "cool")
    assert last(found, "cool").action == last(found, "clean").action == "abstain"
    assert last(found, "heat").reason == "no evidence, and stage 2 of 3 allows 3 skills"
    again = look(found, {}, 70, config)
    assert set(again.active) == {"pick", "clean", "cool"}
    assert last(again, "heat").action == "stay_out"  # no evidence brings nothing back


def test_a_withdrawn_skill_returns_on_new_evidence_only_if_it_may():
    evidence = table(heat=-0.1)
    better = table(heat=0.4)
    state, config = start()
    gone = look(state, evidence, 10, config)
    assert "heat" not in gone.active
    back = look(gone, better, 20, config)
    assert back.active[0] == "heat"
    assert last(back, "heat").action == "readmit"

    state, config = start(readmit=False)
    gone = look(state, evidence, 10, config)
    assert "heat" not in candidates(gone, config)
    still = look(gone, better, 20, config)
    assert "heat" not in still.active
    assert "do not return" in last(still, "heat").reason


def test_a_skill_never_shown_is_admitted_even_without_readmission():
    state, config = start(schedule=[3, 3, 3], readmit=False)
    assert state.active == SIX[:3]
    found = look(state, table(pick=0.4, clean=0.1), 10, config)
    assert found.active == ("pick", "clean", "cool")
    assert last(found, "pick").action == "admit"


def test_without_filter_unhelpful_skills_fill_the_budget_last():
    state, config = start(filter=False)
    found = look(state, table(clean=-0.3, cool=-0.1, general=0.2, heat=-0.2, look=0.1, pick=-0.4), 60, config)
    assert found.active == ("general", "look", "cool")


def test_random_rank_depends_on_the_seed_and_the_step_alone():
    state, config = start(rank="random")
    evidence = table(**dict.fromkeys(SIX, 0.1))
    drawn = {look(state, evidence, step, config, seed).active for step in (60, 70, 80) for seed in range(5)}
    assert len(drawn) > 3
    assert (
        look(state, evidence, 60, config, 4).active
        == look(state, dict(reversed(evidence.items())), 60, config, 4).active
    )
    # pinned, as it must be the same in every process and release
    assert look(state, evidence, 60, config, 0).active == ("look", "pick", "clean")


def test_the_last_stage_is_free_of_skills_with_any_evidence_or_none():
    state, config = start(pinned=["general"])
    for evidence in ({}, table(**dict.fromkeys(SIX, 1.0))):
        found = look(state, evidence, 120, config)
        assert found.active == ()
        assert last(found, "pick").reason == "stage 3 of 3 allows no skills"


def test_pinned_skills_go_first_and_count():
    state, config = start(pinned=["look"])
    found = look(state, table(look=-0.5, pick=0.1, heat=0.2, cool=0.3), 60, config)
    assert found.active == ("look", "cool", "heat")
    assert last(found, "look").action == "pinned"


def test_fixed_mode_needs_no_evidence():
    state, config = start(mode="fixed", schedule=[2, 4, 0])
    assert state.active == ("clean", "cool")
    later = look(state, table(clean=-1.0), 60, config)
    assert later.active == ("clean", "cool", "general", "heat")
    assert enforce(later, step=120, total_steps=TOTAL, config=config).active == ()


# --- between looks ------------------------------------------------------------------------------------------


def test_the_budget_binds_between_looks_by_the_last_ranking():
    state, config = start()
    ranked = look(state, table(clean=0.1, cool=0.2, general=0.3, heat=0.4, look=0.5, pick=0.6), 50, config)
    assert enforce(ranked, step=59, total_steps=TOTAL, config=config).active == ranked.active
    assert enforce(ranked, step=60, total_steps=TOTAL, config=config).active == ("pick", "look", "heat")
    assert enforce(ranked, step=120, total_steps=TOTAL, config=config).active == ()
    assert enforce(ranked, step=59, total_steps=TOTAL, config=config) is ranked
    bound = enforce(ranked, step=60, total_steps=TOTAL, config=config)
    assert (bound.active, bound.stage) == (("pick", "look", "heat"), 2)
    added = bound.history[len(ranked.history) :]
    assert [(d.skill, d.action, d.budget) for d in added] == [(s, "withdraw", 3) for s in ("general", "cool", "clean")]


# --- state --------------------------------------------------------------------------------------------------


def run(state: CurriculumState, config: CurriculumConfig, steps: range) -> CurriculumState:
    for step in steps:
        if evidence_due(step, skills=state.skills, total_steps=TOTAL, config=config):
            values = {skill: ((step * 7 + place * 13) % 11 - 3) / 20 for place, skill in enumerate(SIX)}
            evidence = {skill: fact(skill, values[skill]) for skill in candidates(state, config)}
            state = look(state, evidence, step, config)
        else:
            state = enforce(state, step=step, total_steps=TOTAL, config=config)
    return state


@pytest.mark.parametrize("settings", [{}, {"readmit": False}, {"rank": "random"}, {"stages": 5, "interval": 7}])
@pytest.mark.parametrize("stop", [1, 25, 60, 61, 119])
def test_a_resumed_run_decides_as_one_never_stopped(settings, stop):
    state, config = start(**settings)
    whole = run(state, config, range(TOTAL))
    half = json.loads(json.dumps(run(state, config, range(stop)).to_record()))
    assert run(CurriculumState.from_record(half), config, range(stop, TOTAL)) == whole
    assert whole.active == ()
    assert len(whole.history) > len(SIX)


@pytest.mark.parametrize(
    "damage", [{"active": ["nobody"]}, {"history": [{"step": 1}]}, {"stage": None}, {"skills": None}]
)
def test_a_damaged_record_is_refused(damage):
    state, config = start()
    record = look(state, {}, 10, config).to_record() | damage
    with pytest.raises(CheckpointError, match="hint"):
        CurriculumState.from_record(record)


def test_evidence_that_does_not_belong_is_refused():
    state, config = start()
    for evidence in (
        {"unheard": fact("unheard", 0.1)},
        {"heat": fact("cool", 0.1)},
        {"heat": fact("heat", 0.1, kind="all_vs_none")},
    ):
        with pytest.raises(ImprintError):
            look(state, evidence, 10, config)


def test_names_are_checked_at_the_start():
    with pytest.raises(LibraryError):
        initial_state(["a", "a"], total_steps=9, config=CurriculumConfig())
    with pytest.raises(RecipeError, match="'b'"):
        initial_state(["a"], total_steps=9, config=CurriculumConfig(pinned=["b"]))


# --- laws ---------------------------------------------------------------------------------------------------

configs = st.builds(
    CurriculumConfig,
    stages=st.integers(1, 5),
    filter=st.booleans(),
    readmit=st.booleans(),
    rank=st.sampled_from(["helpfulness", "random"]),
    mode=st.sampled_from(["dynamic", "fixed"]),
)
tables = st.dictionaries(st.sampled_from(SIX), st.none() | st.sampled_from([-0.5, 0.0, 0.1, 0.1, 0.9]))


@given(configs, st.lists(st.tuples(st.integers(0, 40), tables), max_size=6), st.randoms(use_true_random=False))
def test_laws(config, looks, random):
    total = 30
    state = mirror = initial_state(SIX, total_steps=total, config=config)
    for step, values in sorted(looks, key=lambda item: item[0]):
        evidence = {skill: None if value is None else fact(skill, value) for skill, value in values.items()}
        shuffled = list(evidence.items())
        random.shuffle(shuffled)
        state = decide(state, evidence, step=step, total_steps=total, config=config)
        mirror = decide(mirror, dict(shuffled), step=step, total_steps=total, config=config)
        allowed = budget_at(step, skills=len(SIX), total_steps=total, config=config)
        assert state == mirror
        assert len(state.active) == len(set(state.active)) <= allowed
        assert state.stage < config.stages or state.active == ()
        if config.mode == "dynamic":
            assert [d.skill for d in state.history[-len(SIX) :]] == list(SIX)
            assert all(d.reason for d in state.history)
            shown = {d.skill for d in state.history[-len(SIX) :] if d.action not in ("withdraw", "stay_out")}
            assert shown == set(state.active)

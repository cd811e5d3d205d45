"""Skill banks: every JSON comes back from the folders as it was, and edits of the pages come back too."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from imprint.cli import app
from imprint.envs.household.banks import BANK_TASKS
from imprint.envs.household.game import FAMILIES
from imprint.errors import BankError
from imprint.skills.banks.bank import export_bank, import_bank, imported_library, read_bank, write_bank
from imprint.skills.library import SkillLibrary, load_library
from imprint.skills.skill import Skill

ALFWORLD: dict[str, Any] = {
    "general_skills": [
        {"skill_id": "gen_001", "title": "Look Around", "principle": "See it all.", "when_to_apply": "At the start."},
        {"skill_id": "gen_002", "title": "Take It", "principle": "Take what you need.", "example": [1, None]},
    ],
    "task_specific_skills": {
        "pick_and_place": [{"skill_id": "pic_001", "title": "Go", "principle": "Go there.", "when_to_apply": "Now."}],
        "look_at_obj_in_light": [{"skill_id": "loo_001", "title": "Lamp", "principle": "Find the lamp."}],
        "clean": [{"skill_id": "cle_001", "title": "Wash", "principle": "Use the sink."}],
        "heat": [{"skill_id": "hea_001", "title": "Warm", "principle": "Use the microwave."}],
        "cool": [{"skill_id": "coo_001", "title": "Chill", "principle": "Use the fridge."}],
        "examine": [{"skill_id": "exa_001", "title": "See", "principle": "Use the lamp."}],
    },
    "common_mistakes": [
        {"mistake_id": "err_001", "description": "Walking.", "why_it_happens": "No plan.", "how_to_avoid": "Plan."}
    ],
    "metadata": {"source": "o3", "total": 40},
}
WEBSHOP: dict[str, Any] = {
    "general_skills": [],
    "task_specific_skills": {"home_decor": [{"skill_id": "hom_001", "title": "T", "principle": "P"}], "apparel": []},
    "common_mistakes": [],
}
SEARCH: dict[str, Any] = {
    "general_skills": [{"skill_id": "gen_001", "title": "T", "principle": "P"}],
    "query_type_skills": {"comparison": [{"skill_id": "com_001", "title": "Split", "principle": "Split it."}]},
    "metadata": {"counts": {"comparison": {"success": 10}}},
}


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "SKILL.md"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def exported(folder: Path) -> dict[str, Any]:
    return export_bank(imported_library(folder), world_tasks=BANK_TASKS)[0]


@pytest.mark.parametrize(
    "bank", [ALFWORLD, WEBSHOP, SEARCH, {"general_skills": []}], ids=["alfworld", "webshop", "search", "empty"]
)
def test_a_bank_comes_back_equal(tmp_path: Path, bank: dict[str, Any]) -> None:
    import_bank(bank, tmp_path / "skills", world_tasks=BANK_TASKS)
    write_bank(exported(tmp_path / "skills"), tmp_path / "bank.json")
    assert read_bank(tmp_path / "bank.json") == bank
    assert list(read_bank(tmp_path / "bank.json")) == list(bank)


def test_alfworlds_categories_serve_our_families(tmp_path: Path) -> None:
    library = import_bank(ALFWORLD, tmp_path / "skills", world_tasks=BANK_TASKS)
    library.check(FAMILIES)
    assert SkillLibrary.load(tmp_path / "skills").names == library.names
    assert {skill.name: skill.tasks for skill in library.skills} == {
        "general-skills": ("*",),
        "common-mistakes": ("*",),
        "pick-and-place": ("pick_and_place_simple", "pick_two_obj_and_place"),
        "look-at-obj-in-light": ("look_at_obj_in_light",),
        "examine": ("look_at_obj_in_light",),
        "clean": ("pick_clean_then_place_in_recep",),
        "heat": ("pick_heat_then_place_in_recep",),
        "cool": ("pick_cool_then_place_in_recep",),
    }


def test_other_categories_stay_and_any_can_be_mapped(tmp_path: Path) -> None:
    assert import_bank(SEARCH, tmp_path / "a")["comparison"].tasks == ("comparison",)
    mapped = import_bank(SEARCH, tmp_path / "b", tasks={"comparison": ["compare", "bamboogle"]}, prefix="Search QA")
    assert mapped["search-qa-comparison"].tasks == ("compare", "bamboogle")
    with pytest.raises(BankError, match=r"no category 'heat'(.|\n)*comparison"):
        import_bank(SEARCH, tmp_path / "c", tasks={"heat": ["x"]})
    assert not (tmp_path / "c").exists()


def test_a_page_reads_as_prose(tmp_path: Path) -> None:
    library = import_bank(ALFWORLD, tmp_path / "skills", world_tasks=BANK_TASKS)
    assert library["general-skills"].body == (
        "These rules help with every task.\n\n"
        "1. **Look Around.** See it all. When to apply: At the start.\n"
        "2. **Take It.** Take what you need."
    )
    assert library["common-mistakes"].body.endswith("1. **Walking.** Why it happens: No plan. How to avoid it: Plan.")
    assert library["pick-and-place"].description == "Rules for pick and place: Go"
    assert "gen_001" not in library["general-skills"].body


# --- edits ---


def test_edits_of_a_page_are_in_the_bank_and_ids_and_extras_stay(tmp_path: Path) -> None:
    import_bank(ALFWORLD, tmp_path / "skills", world_tasks=BANK_TASKS)
    general = tmp_path / "skills" / "general-skills"
    edit(general, "Take what you need.", "Take it at once. When to apply: On sight.")
    edit(general, "**Look Around.** See it all.", "**Look About.** See it all.")
    edit(tmp_path / "skills" / "common-mistakes", "No plan.", "Haste.")
    wanted = copy.deepcopy(ALFWORLD)
    wanted["general_skills"][0]["title"] = "Look About"
    wanted["general_skills"][1] |= {"principle": "Take it at once.", "when_to_apply": "On sight."}
    wanted["common_mistakes"][0]["why_it_happens"] = "Haste."
    assert exported(tmp_path / "skills") == wanted


def test_rules_may_be_added_removed_and_moved(tmp_path: Path) -> None:
    import_bank(ALFWORLD, tmp_path / "skills", world_tasks=BANK_TASKS)
    rules = "2. **Take It.** Take what you need.\n3. **Rest.** Sit down.\n   Then wait. When to apply: At the end.\n"
    edit(tmp_path / "skills" / "general-skills", "1. **Look Around.** See it all. When to apply: At the start.\n", "")
    edit(tmp_path / "skills" / "general-skills", "2. **Take It.** Take what you need.\n", rules)
    edit(
        tmp_path / "skills" / "heat",
        "1. **Warm.** Use the microwave.",
        "1. **New.** It is new.\n2. **Warm.** Use the microwave.",
    )
    bank = exported(tmp_path / "skills")
    rest = {"skill_id": "gen_001", "title": "Rest", "principle": "Sit down. Then wait.", "when_to_apply": "At the end."}
    assert bank["general_skills"] == [ALFWORLD["general_skills"][1], rest]
    assert [item["skill_id"] for item in bank["task_specific_skills"]["heat"]] == ["hea_002", "hea_001"]


def test_a_removed_page_removes_its_list_and_a_renamed_one_does_not(tmp_path: Path) -> None:
    import_bank(ALFWORLD, tmp_path / "skills", world_tasks=BANK_TASKS)
    (tmp_path / "skills" / "heat" / "SKILL.md").unlink()
    edit(tmp_path / "skills" / "cool", "name: cool", "name: chill")
    (tmp_path / "skills" / "cool").rename(tmp_path / "skills" / "chill")
    wanted = copy.deepcopy(ALFWORLD)
    del wanted["task_specific_skills"]["heat"]
    assert exported(tmp_path / "skills") == wanted


def test_what_a_bank_has_no_place_for_is_said(tmp_path: Path) -> None:
    import_bank(ALFWORLD, tmp_path / "skills", world_tasks=BANK_TASKS)
    edit(tmp_path / "skills" / "heat", "These rules are for heat.", "Read this twice.")
    bank, notes = export_bank(imported_library(tmp_path / "skills"), world_tasks=BANK_TASKS)
    assert bank == ALFWORLD
    assert len(notes) == 1 and notes[0].startswith("heat: ")


def test_a_skill_of_another_origin_joins_the_bank(tmp_path: Path) -> None:
    import_bank(SEARCH, tmp_path / "skills")
    page = "Hints.\n\n1. **One.** Do one. When to apply: First.\n2. **Two.** Do two.\n"
    Skill("hints", "Hints.", page, metadata={"tasks": "compare"}).write(tmp_path / "skills")
    bank = exported(tmp_path / "skills")
    assert bank["query_type_skills"]["comparison"] == SEARCH["query_type_skills"]["comparison"]
    assert bank["query_type_skills"]["compare"] == [
        {"skill_id": "com_002", "title": "One", "principle": "Do one.", "when_to_apply": "First."},
        {"skill_id": "com_003", "title": "Two", "principle": "Do two.", "when_to_apply": ""},
    ]


def test_our_own_library_goes_out_and_comes_back(tmp_path: Path) -> None:
    bank, notes = export_bank(load_library("household"), world_tasks=BANK_TASKS)
    assert notes == [] and [item["skill_id"] for item in bank["general_skills"]] == ["household-general"]
    heat = bank["task_specific_skills"]["heat"][0]
    assert heat["principle"] == load_library("household")["household-heat"].body
    assert heat["when_to_apply"] == "When the goal asks for a hot thing."
    library = import_bank(bank, tmp_path / "skills", world_tasks=BANK_TASKS)
    library.check(FAMILIES)
    assert len(library) == 6  # as in the paper: `pick_and_place` holds the pages of two families
    assert exported(tmp_path / "skills") == bank
    edit(tmp_path / "skills" / "heat", "heat apple 1 with microwave 1", "heat egg 1 with microwave 1")
    wanted = copy.deepcopy(bank)
    wanted["task_specific_skills"]["heat"][0]["principle"] = heat["principle"].replace("heat apple 1", "heat egg 1")
    assert exported(tmp_path / "skills") == wanted


# --- hostile banks ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        *(
            "",
            " ",
            "\n",
            "---",
            "a\n---\nb",
            "1. x",
            "2. **T.** x",
            "## H",
            "a\n## b\n# c",
            "**",
            "a **b** c",
            "\0",
            "\x1b[2J",
        ),
        *(
            "When to apply:",
            "x When to apply: y",
            "Why it happens: z",
            "name: x",
            "\u2028",
            "../../etc",
            "{{ x }}",
            "a\r\nb",
            "- a\n- b",
        ),
    ]
)
NAMES = st.sampled_from(["a_b", "a-b", "a b", "general_skills", "../x", "con", "", "é", "x" * 99, ","]) | TEXT


def entries(identity: str, *fields: str) -> Any:
    fixed = dict.fromkeys(fields[:1], TEXT) | ({"principle": TEXT} if identity == "skill_id" else {})
    maybe = {identity: st.none() | TEXT} | {field: st.none() | TEXT for field in fields[1:]}
    return st.builds(
        lambda extra, known: {**extra, **known},
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=30, max_size=31), JSON, max_size=1),
        st.fixed_dictionaries(fixed, optional=maybe),
    )


RULES = st.lists(entries("skill_id", "title", "when_to_apply"), max_size=3).flatmap(
    lambda rules: st.just([*rules, *rules[:1]]) | st.just(rules)  # a rule may stand there twice
)
BANKS = st.fixed_dictionaries(
    {"general_skills": RULES},
    optional={
        "task_specific_skills": st.dictionaries(NAMES, RULES, max_size=3),
        "query_type_skills": st.dictionaries(NAMES, RULES, max_size=2),
        "common_mistakes": st.lists(entries("mistake_id", "description", "why_it_happens", "how_to_avoid"), max_size=2),
        "metadata": JSON,
        "search_priorities": JSON,
    },
)


@settings(max_examples=25)
@given(BANKS)
def test_any_bank_comes_back_equal(bank: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "in.json").write_text(json.dumps(bank))
        library = import_bank(read_bank(place / "in.json"), place / "skills")
        assert {p.name for p in (place / "skills").iterdir()} == {*library.names, "bank.json"}
        write_bank(exported(place / "skills"), place / "out.json")
        assert read_bank(place / "out.json") == bank


@settings(max_examples=15)
@given(BANKS)
def test_any_page_may_get_one_more_rule(bank: dict[str, Any]) -> None:
    """However hostile the rules before it, they stay, and the new one is the only change."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "skills"
        library = import_bank(bank, place)
        if "general-skills" not in library or "## " in library["general-skills"].body:
            return
        file = place / "general-skills" / "SKILL.md"
        file.write_bytes(file.read_bytes() + b"9. **Brand new.** Nothing like the others.\n")
        made = exported(place)
        *before, new = made["general_skills"]
        assert before == bank["general_skills"]
        assert (new["title"], new["principle"]) == ("Brand new", "Nothing like the others.")
        assert {**made, "general_skills": before} == bank


# --- errors and the command line ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["bank.json:1", "not JSON"]),
        ("[]", ["is no skill bank", "general_skills"]),
        ('{"skills": []}', ["is no skill bank"]),
        ('{"general_skills": [{"title": "t"}]}', ["general_skills[0].principle", "is missing"]),
        ('{"general_skills": {"a": 1}}', ["general_skills", "valid list"]),
        ('{"task_specific_skills": {"heat": [{"title": 1, "principle": ""}]}}', ["task_specific_skills.heat[0].title"]),
        ('{"common_mistakes": [{"description": null}]}', ["common_mistakes[0].description"]),
        ('{"general_skills": [], "general_skills": []}', ["general_skills", "twice"]),
        ('{"general_skills": [], "x": NaN}', ["NaN"]),
        ('{"general_skills": [], "x": 1e999}', ["1e999"]),
        ('{"general_skills": ' + "[" * 99999, ["not JSON"]),
        ("\xff", ["not JSON"]),
    ],
)
def test_a_bad_bank_names_file_key_and_hint(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "bank.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BankError) as caught:
        read_bank(tmp_path / "bank.json")
    for word in (*words, "bank.json", "hint:"):
        assert word in str(caught.value)


def call(*arguments: object, status: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["skills", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_the_commands_import_validate_and_export(tmp_path: Path) -> None:
    bank, skills, again = tmp_path / "bank.json", tmp_path / "skills", tmp_path / "again.json"
    bank.write_text(json.dumps(ALFWORLD))
    listed = call("import", bank, skills, "--tasks", "examine=look_at_obj_in_light,other", "--prefix", "alf").output
    assert "alf-examine" in listed and "look_at_obj_in_light, other" in listed
    assert "alf-heat: valid" in call("validate", skills).output
    assert "9 entries in 8 lists" in call("export", skills, again).output
    assert json.loads(again.read_text()) == ALFWORLD
    assert "--force" in call("export", skills, again, status=2).stderr
    call("export", skills, again, "--force")
    assert "CATEGORY=TASK" in call("import", bank, tmp_path / "x", "--tasks", "examine", status=2).stderr


def test_a_folder_is_replaced_only_by_force_and_only_if_it_is_an_import(tmp_path: Path) -> None:
    bank, skills = tmp_path / "bank.json", tmp_path / "skills"
    bank.write_text(json.dumps(SEARCH))
    call("import", bank, skills)
    assert "is there already" in call("import", bank, skills, status=2).stderr
    (skills / "comparison" / "SKILL.md").write_text("broken")
    call("import", bank, skills, "--force")
    assert exported(skills) == SEARCH
    (skills / "notes.txt").write_text("mine")
    assert "notes.txt" in call("import", bank, skills, "--force", status=2).stderr
    assert (skills / "notes.txt").read_text() == "mine"


def test_a_damaged_record_is_reported(tmp_path: Path) -> None:
    import_bank(SEARCH, tmp_path / "skills")
    (tmp_path / "skills" / "bank.json").write_text('{"pages": {}, "bank": {"general_skills": 3}}')
    with pytest.raises(BankError, match=r"bank\.json: general_skills"):
        exported(tmp_path / "skills")

"""The published question sets: both published forms, labels for every question, disjoint splits, and no row lost."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from imprint.cli import app
from imprint.commands import doctor_search
from imprint.envs.base import SPLITS
from imprint.envs.search.categories import Agreement, agreement, asks_to_compare, category
from imprint.envs.search.published import PublishedQuestions
from imprint.envs.search.question import CATEGORIES, normalize
from imprint.envs.search.rows import SETS, count_rows, set_name
from imprint.errors import QuestionError

COMPARISONS = [
    "Which river is longer, the Elbe or the Oder?",
    "Who was born first, Ada Lovelace or Charles Babbage?",
    "Which of these is a band, Ladytron or Ladybug Ecosystem?",
    "Which town lies in Italy Pisa or Nice?",
    "Which film came out earlier the Third Man or Rear Window?",
    "Lucerne or Zug, which canton has more people?",
    "Are both Lake Como and Lake Garda in Italy?",
    "Are Basel and Bern cities of the same country?",
    "Were Marie Curie and Lise Meitner both physicists?",
    "Did Max Frisch and Peter Bichsel share a publisher?",
    "Is the Eiger higher than the Jungfrau?",
    "Do the Aare and the Reuss flow into one river?",
    'Is "Pride and Prejudice" older than "Emma"?',
    "What do Oslo and Helsinki have in common?",
    "What occupation do Wes Anderson and Sofia Coppola share?",
    "Between Kafka and Musil, who was the older one?",
    "What kind of animal are Laika and Belka both?",
    "Both Bern and Basel lie on what sort of water?",
    "Which profession is shared by Erich Fried and Paul Celan?",
]
NO_COMPARISONS = [
    "Which actor played the doctor in the film that Wim Wenders made in Lisbon?",
    "What is the former name of the director of the Zurich orchestra?",
    "Who founded the organisation for which the author of Momo worked?",
    "What year was the composer of the opera Orfeo born?",
    'Who wrote "War or Peace"?',
    "Which historian, born in 1901 or 1902, wrote about the Hanse?",
    "Who played in both Alien and Avatar?",
    "What is the capital of the country that has more or less a million lakes?",
    "Who is the singer of the band that recorded Black and White?",
    "In what city is the university where the inventor of the World Wide Web taught?",
    "Is the author of Heidi from Zurich?",
    "Between 1914 and 1918 who led the party that the painter's brother founded?",
    "Which storm hit the island where the explorer died for the first time?",
    "",
    "or",
]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet", reason="parquet needs imprint[search-data]")
    from pyarrow import Table

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(Table.from_pylist(list(rows)), path)
    return path


def flash(number: int, text: str, *answers: str, split: str = "train", **metadata: Any) -> dict[str, Any]:
    """A row as FlashRAG has it."""
    return {"id": f"{split}_{number}", "question": text, "golden_answers": list(answers), "metadata": metadata}


def search_r1(number: int, source: str, text: str, *answers: str, split: str = "train") -> dict[str, Any]:
    """A row as Search-R1 has it."""
    return {
        "id": f"{split}_{number}",
        "question": text,
        "golden_answers": list(answers),
        "data_source": source,
        "prompt": [{"content": f"Answer the given question. {text}", "role": "user"}],
        "ability": "fact-reasoning",
        "reward_model": {"ground_truth": {"target": list(answers)}, "style": "rule"},
        "extra_info": {"index": number, "split": split},
    }


def flash_folder(root: Path) -> Path:
    write_jsonl(root / "nq/train.jsonl", (flash(n, f"who was number {n}", f"person {n}") for n in range(20)))
    write_jsonl(root / "nq/dev.jsonl", [flash(0, "who was nobody", "odysseus", split="dev")])
    write_jsonl(root / "nq/test.jsonl", [flash(0, "who was the last", "z", split="test")])
    kinds = ("bridge", "comparison")
    hotpot = (flash(n, f"What about thing {n}?", f"thing {n}", type=kinds[n % 2], level="hard") for n in range(20))
    write_jsonl(root / "hotpotqa/train.jsonl", hotpot)
    dev = [
        flash(0, "Which is older, Rome or Ur?", "Ur", split="dev", type="comparison"),
        flash(1, "Who is the mother of the poet?", "Anna", split="dev", type="bridge"),
        flash(2, "Is Rome older?", "no", split="dev", type="comparison"),
    ]
    write_jsonl(root / "hotpotqa/dev.jsonl", dev)
    write_jsonl(root / "popqa/test.jsonl", [flash(0, "What is Ur's country?", "Iraq", split="test")])
    write_jsonl(root / "2wikimultihopqa/test.jsonl", [flash(0, "Who is the father of X?", split="test")])
    wiki = (
        flash(n, f"wiki {kind}", "y", split="dev", type=kind)
        for n, kind in enumerate(("comparison", "bridge_comparison", "compositional", "inference"))
    )
    write_jsonl(root / "2wikimultihopqa/dev.jsonl", wiki)
    return root


def test_flash_rag_folders_are_read_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    found = PublishedQuestions(flash_folder(tmp_path), validation=9)
    assert Counter(q.category for q in found.questions("validation")) == dict.fromkeys(
        ("direct_retrieval", "multi_hop_reasoning", "compare"), 3
    )
    assert len(found.questions("train")) == 31
    test = {q.id: q for q in found.questions("test")}
    assert list(test)[:2] == ["nq/test_0", "popqa/test_0"]
    assert test["hotpotqa/dev_0"].category == test["hotpotqa/dev_2"].category == "compare"  # the label, not the words
    assert [q.category for q in test.values() if q.source == "2wikimultihopqa"] == [
        "compare", "compare", "multi_hop_reasoning", "multi_hop_reasoning",
    ]  # fmt: skip
    assert test["popqa/test_0"].category == "entity_attribute_lookup" and test["popqa/test_0"].answers == ("Iraq",)
    notes = "\n".join(found.notes)
    assert "nq: 1 left out: dev rows" in notes and "2wikimultihopqa: 1 left out: test rows, as they have no" in notes
    assert "train has no question of entity_attribute_lookup, test has some" in notes
    assert found.agreement("test")["hotpotqa"] == Agreement(rows=3, agree=2, missed=1, mistaken=0)
    check_accounts(found)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_search_r1_files_are_read(tmp_path: Path, form: str) -> None:
    write = write_parquet if form == "parquet" else write_jsonl
    train = [search_r1(n, ("nq", "hotpotqa")[n % 2], f"Who is person {n}?", f"p{n}", "q") for n in range(8)]
    test = [search_r1(n, source, f"Who is {source}?", "a", split="test") for n, source in enumerate(SETS)]
    write(tmp_path / f"nq_hotpotqa_train/train.{form}", train)
    write(tmp_path / f"nq_hotpotqa_train/test.{form}", test)
    found = PublishedQuestions(tmp_path, validation=2)
    assert [q.source for q in found.questions("test")] == list(SETS)
    assert len(found.questions("train")) == 6 and len(found.questions("validation")) == 2
    assert found.questions("train")[0].answers[1] == "q"
    check_accounts(found)
    inside = PublishedQuestions(tmp_path / "nq_hotpotqa_train", validation=2)
    assert inside.questions("train") == found.questions("train")


def test_parquet_in_parts_with_labels_and_only_what_is_used_is_read(tmp_path: Path) -> None:
    for part in range(3):
        rows = [{**flash(n, f"Question {part} {n}", "x", type="comparison", context="long " * 50)} for n in range(700)]
        write_parquet(tmp_path / f"hotpotqa/data/../train-0000{part}-of-00003.parquet", rows)
    found = PublishedQuestions(tmp_path, validation=0)
    assert len(found.questions("train")) == 2100 and {q.category for q in found.questions("train")} == {"compare"}
    assert len({q.id for q in found.questions("train")}) == 2100
    assert count_rows(tmp_path / "hotpotqa/train-00000-of-00003.parquet") == 700


def test_rows_with_nothing_but_a_question_and_ground_truth_are_enough(tmp_path: Path) -> None:
    rows = [
        {"question": "one", "reward_model": {"ground_truth": {"target": ["a", "a", " "]}}},
        {"question": "two", "golden_answers": [], "ground_truth": {"target": "b"}},
        {"question": "three", "ground_truth": "c", "id": 7},
        {"question": "four", "ground_truth": ["d"], "data_source": "searchR1_nq", "id": 7},
    ]
    write_jsonl(tmp_path / "nq" / "test.jsonl", rows)
    found = PublishedQuestions(tmp_path / "nq", validation=0).questions("test")
    assert [(q.id, q.answers) for q in found] == [
        ("nq/test/1", ("a",)), ("nq/test/2", ("b",)), ("nq/test/7", ("c",)), ("nq/test/7#2", ("d",)),
    ]  # fmt: skip


def test_the_same_question_is_merged_within_a_set_and_kept_out_of_training_if_it_is_tested(tmp_path: Path) -> None:
    train = [flash(0, "Who was the First?", "Al"), flash(1, "who was first", "Bo"), flash(2, "Who is it?", "Cy")]
    write_jsonl(tmp_path / "nq/train.jsonl", train)
    write_jsonl(tmp_path / "hotpotqa/dev.jsonl", [flash(0, "who is it", "Cyrus", split="dev")])
    found = PublishedQuestions(tmp_path, validation=0)
    assert [(q.text, q.answers) for q in found.questions("train")] == [("Who was the First?", ("Al", "Bo"))]
    assert [(m.kept, Path(m.where).name) for m in found.merged] == [("nq/train_0", "train.jsonl:2")]
    assert [(o.id, o.test) for o in found.overlaps] == [("nq/train_2", "hotpotqa/dev_0")]
    assert "nq: 1 train questions left out, as they stand in a test set" in found.notes
    # A sample of the test set changes nothing about what is trained on.
    limited = PublishedQuestions(tmp_path, validation=0, limit={"hotpotqa": 0})
    assert limited.questions("train") == found.questions("train") and not limited.questions("test")


def test_samples_and_what_is_held_out_are_seeded(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "nq/test.jsonl", (flash(n, f"test {n}", "x", split="test") for n in range(50)))
    write_jsonl(tmp_path / "nq/train.jsonl", (flash(n, f"train {n}", "x") for n in range(50)))

    def ids(split: str, **options: Any) -> set[str]:
        return {q.id for q in PublishedQuestions(tmp_path, **options).questions(split)}

    assert ids("test", limit=10) == ids("test", limit={"nq": 10}) < ids("test", limit=20)
    assert ids("test", limit=10) != ids("test", limit=10, seed=1)
    assert ids("validation", validation=10) == ids("validation", validation=10) < ids("validation", validation=20)
    assert ids("validation", validation=10) != ids("validation", validation=10, seed=1)
    assert len(ids("validation")) == 25


def test_only_the_sets_asked_for_are_used(tmp_path: Path) -> None:
    flash_folder(tmp_path)
    found = PublishedQuestions(tmp_path, sets=("nq", "2wiki"), train_sets=("2wikimultihopqa",), validation=0)
    assert {q.source for q in found.questions("test")} == {"nq", "2wikimultihopqa"}
    assert not found.questions("train") and "there is no question in train" in found.notes
    assert any("20 left out: train rows of a set that is not trained on" in note for note in found.notes)
    check_accounts(found)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"sets": ("nq", "squad")}, "sets"),
        ({"sets": ("musique",)}, "sets"),
        ({"train_sets": ("moon",)}, "train_sets"),
        ({"limit": {"moon": 1}}, "limit"),
        ({"limit": -1}, "limit.nq"),
        ({"validation": -1}, "validation"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, Any], key: str) -> None:
    with pytest.raises(QuestionError) as caught:
        PublishedQuestions(flash_folder(tmp_path), **options)
    assert caught.value.key == f"env.{key}" and caught.value.hint
    with pytest.raises(QuestionError, match="no split 'dev'"):
        PublishedQuestions(tmp_path).questions("dev")


GOOD = '{"question": "who", "golden_answers": ["a"], "data_source": "nq"}'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"question": "who"', "no JSON"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "no JSON"),
        ('{"golden_answers": ["a"]}', "question: there is no question"),
        ('{"question": " ?! the ", "golden_answers": ["a"]}', "question: the question is empty"),
        ('{"question": ["who"], "golden_answers": ["a"]}', "question: holds a list"),
        ('{"question": "\\ud800", "golden_answers": ["a"]}', "question: holds half a character"),
        ('{"question": "who"}', "golden_answers: row 2 has no answer"),
        ('{"question": "who", "golden_answers": ["", " "]}', "golden_answers: row 2 has no answer"),
        ('{"question": "who", "golden_answers": [1]}', "golden_answers: holds a number"),
        ('{"question": "who", "golden_answers": 1}', "golden_answers: is a number"),
        ('{"question": "who", "reward_model": "a"}', "reward_model: is text"),
        ('{"question": "who", "ground_truth": {"target": true}}', "ground_truth.target: is a truth value"),
        ('{"question": "who", "golden_answers": ["a"], "id": 1.5}', "id: is a number"),
        ('{"question": "who", "golden_answers": ["a"], "metadata": {"type": 3}}', "metadata.type: holds a number"),
        ('{"question": "who", "golden_answers": ["a"], "data_source": "squad"}', "'squad' is not a known set"),
        ('{"question": "who", "golden_answers": ["a"], "data_source": "popqa"}', "is popqa, in a folder of nq"),
    ],
)
def test_a_broken_row_is_named_with_its_line_and_a_hint(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "nq/test.jsonl"
    path.parent.mkdir()
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(QuestionError) as caught:
        PublishedQuestions(tmp_path)
    message = str(caught.value)
    assert str(path) in message and problem in message and "hint: " in message
    assert caught.value.line == 2 or "row 2" in message


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match="no such folder"):
        PublishedQuestions(tmp_path / "none")
    with pytest.raises(QuestionError, match="no question set is found"):
        PublishedQuestions(tmp_path)
    write_jsonl(tmp_path / "squad/train.jsonl", [flash(0, "who", "a")])
    with pytest.raises(QuestionError, match=r"no question set is found \(of no known set: squad/train.jsonl\)"):
        PublishedQuestions(tmp_path)
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed/test.jsonl").write_text(f'{GOOD}\n{{"question": "who", "golden_answers": ["a"]}}\n')
    with pytest.raises(QuestionError, match="names no set"):
        PublishedQuestions(tmp_path)
    (tmp_path / "mixed/test.jsonl").write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(QuestionError, match="no JSON"):
        PublishedQuestions(tmp_path)


def test_broken_parquet_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "nq/test.parquet", [flash(n, f"who {n}", "a", type="bridge") for n in range(3000)])
    whole = path.read_bytes()
    for broken in (b"", b"PAR1", whole[:-50], whole[:40] + b"\x00" * 4000 + whole[4040:]):
        path.write_bytes(broken)
        with pytest.raises(QuestionError, match=r"test.parquet(.|\n)*hint: download"):
            PublishedQuestions(tmp_path)
    write_parquet(path, [{"query": "who"}])
    with pytest.raises(QuestionError, match=r"no column `question` \(it has: query\)"):
        PublishedQuestions(tmp_path)
    write_parquet(path, [{"question": "who", "golden_answers": ["a"]}, {"question": None, "golden_answers": ["a"]}])
    with pytest.raises(QuestionError, match="question: row 2 there is no question"):
        PublishedQuestions(tmp_path)


def test_without_pyarrow_jsonl_is_read_and_parquet_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert PublishedQuestions(flash_folder(tmp_path)).questions("train")
    (tmp_path / "nq/test.parquet").write_bytes(b"PAR1")
    with pytest.raises(QuestionError, match=r"imprint\[search-data\]"):
        PublishedQuestions(tmp_path)


# --- properties ---

TEXTS = st.sampled_from(
    ["Who is A?", "who is the a", "Are B and C the same?", "Which is older, D or E?", "What is F", "G?"]
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(SETS[:5]),
        st.sampled_from(["train", "dev", "test"]),
        TEXTS | st.integers(0, 30).map(lambda n: f"What is number {n}?"),
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from([None, None, "bridge", "comparison", "bridge_comparison", "odd"]),
        st.booleans(),  # in the set's own folder, or in a mixed file
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=40)
@given(rows=ROWS, validation=st.integers(0, 12), limit=st.none() | st.integers(0, 5), seed=st.integers(0, 3))
def test_splits_are_disjoint_labelled_and_no_row_is_lost(
    rows: list[tuple[str, str, str, str, str | None, bool]], validation: int, limit: int | None, seed: int
) -> None:
    with TemporaryDirectory() as name:
        files: dict[Path, list[dict[str, Any]]] = {}
        for number, (source, split, text, answer, label, own) in enumerate(rows):
            folder = Path(name) / (source if own else "mixed")
            row = flash(number, text, answer, split=split, type=label) | ({} if own else {"data_source": source})
            files.setdefault(folder / f"{split}.jsonl", []).append(row)
        for path, contents in files.items():
            write_jsonl(path, contents)
        found = PublishedQuestions(name, validation=validation, limit=limit, seed=seed)
        again = PublishedQuestions(name, validation=validation, limit=limit, seed=seed)
    assert found.found.total() == len(rows)
    check_accounts(found)
    for split in SPLITS:
        assert found.questions(split) == again.questions(split)
    assert len(found.questions("validation")) <= validation
    answers = {(source, normalize(text), answer) for source, _, text, answer, *_ in rows}
    texts = {(source, text) for source, _, text, *_ in rows}
    for question in (q for split in SPLITS for q in found.questions(split)):
        assert (question.source, question.text) in texts
        assert all((question.source, normalize(question.text), answer) in answers for answer in question.answers)


def check_accounts(found: PublishedQuestions) -> None:
    """Every row is in a split, merged, an overlap or left out; ids are unique, splits disjoint, all have a category."""
    questions = [q for split in SPLITS for q in found.questions(split)]
    lost = found.found.total() - len(questions) - len(found.merged) - len(found.overlaps) - found.left_out.total()
    assert lost == 0
    assert len({q.id for q in questions} | {o.id for o in found.overlaps}) == len(questions) + len(found.overlaps)
    assert all(q.category in CATEGORIES and q.answers and q.source in SETS for q in questions)
    keys = [{normalize(q.text) for q in found.questions(split)} for split in SPLITS]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    for number in (*found.left_out.values(), *Counter(m.kept.split("/")[0] for m in found.merged).values()):
        assert any(f" {number:,} " in note for note in found.notes)


# --- categories ---


@pytest.mark.parametrize("text", COMPARISONS)
def test_comparisons_are_known_by_their_words(text: str) -> None:
    assert asks_to_compare(text)
    assert category("hotpotqa", text) == category("bamboogle", text) == "compare"
    assert category("nq", text) == "direct_retrieval" and category("popqa", text) == "entity_attribute_lookup"


@pytest.mark.parametrize("text", NO_COMPARISONS)
def test_other_questions_are_not_taken_for_comparisons(text: str) -> None:
    assert not asks_to_compare(text)
    assert category("musique", text) == "multi_hop_reasoning"


def test_a_label_wins_over_the_words_unless_it_is_unknown() -> None:
    assert category("hotpotqa", COMPARISONS[0], "bridge") == "multi_hop_reasoning"
    assert category("2wikimultihopqa", NO_COMPARISONS[0], "bridge_comparison") == "compare"
    assert category("hotpotqa", COMPARISONS[0], "odd") == "compare"
    pairs = [(COMPARISONS[0], "comparison"), (COMPARISONS[1], "bridge"), (NO_COMPARISONS[0], "comparison"), ("", "odd")]
    assert agreement(pairs) == Agreement(rows=3, agree=1, missed=1, mistaken=1)


WORDS = ["do", "did", "are", "and", "or", "both", "share", ",", "Which", "who", "between", "A", "B", "same"]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_has_a_category(text: str) -> None:
    assert category("hotpotqa", text) in CATEGORIES and asks_to_compare(text) in (True, False)


def test_names_of_sets() -> None:
    assert [set_name(name) for name in ("2wiki", "searchR1_nq", "HotpotQA", "squad")] == [
        "2wikimultihopqa", "nq", "hotpotqa", None,
    ]  # fmt: skip


# --- the doctor ---


def call(*arguments: object, status: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["envs", "doctor", "search", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_the_doctor_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    result = call(flash_folder(tmp_path), status=1)
    assert "20 of 79,168" in result.output and "3 of 7,405" in result.output and "66.7%" in result.output
    assert "incomplete: nq train, hotpotqa train, nq test, triviaqa test" in result.stderr
    for name in ("PeterJinGo/nq_hotpotqa_train", "RUC-NLPIR/FlashRAG_datasets", "PeterJinGo/wiki-18-e5-index"):
        assert name in result.stderr
    assert "which folder" in call(status=2).stderr
    assert "no such folder" in call(tmp_path / "none", status=1).stderr
    (tmp_path / "nq/test.jsonl").write_text("{")
    assert "test.jsonl:1: is no JSON" in call("--data", tmp_path, status=1).stderr


def test_the_doctor_is_content_with_the_published_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_search, "PUBLISHED", {"train": {"nq": 20}, "test": {"hotpotqa": 3}})
    assert "all published questions are here" in call(flash_folder(tmp_path)).output

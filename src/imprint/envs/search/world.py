"""The world of Search-QA: questions to be answered with a search engine, behind `World` and `Environment`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from imprint.envs.base import Demonstration, Environment
from imprint.envs.search.drills import carry_out_orders, compare_numbers, read_out
from imprint.envs.search.encyclopedia import ALL_VOLUMES, SENTENCE_PARTS, Encyclopedia
from imprint.envs.search.episode import SearchEpisode
from imprint.envs.search.made import MadeQuestion, make_questions
from imprint.envs.search.options import MADE, Place, check_options
from imprint.envs.search.published import TRAINED_ON, PublishedQuestions
from imprint.envs.search.question import CATEGORIES, Question
from imprint.envs.search.random_rules import LESSONS, make_random_rules
from imprint.envs.search.rows import find_files
from imprint.envs.search.tags import Format, parse_answer
from imprint.envs.search.teacher import Renamed, demonstrate, play
from imprint.errors import GameError, QuestionError, RecipeError, under
from imprint.retrieval.base import Hit, Retriever
from imprint.retrieval.bm25 import Bm25
from imprint.retrieval.open import check_retriever, open_retriever
from imprint.types import Exemplar, StepResult, Task, WorkedStep

# Lessons of `drills.py`; the others are those of `random_rules.py`.
ORDERS, NUMBERS, COMPARING_NUMBERS, READING = "orders", "numbers", "comparing-numbers", "reading"
LARGER = {NUMBERS: 0.9, COMPARING_NUMBERS: 0.5}  # the share of their comparisons that ask for the larger number
ENCYCLOPEDIAS = 4  # that demonstrations are about: with too few things, their names are memorised and not read
TOPK, MAX_TURNS = 3, 4  # as published
OWN_NAMES = {volume: volume for volume in ALL_VOLUMES}
# What the world's sentences are made of, between the names.
PHRASES = (
    " <search>",
    "</search>",
    " <answer>",
    "</answer>",
    "<information>\nDoc 1:",
    "\nDoc 2:",
    "\nDoc 3:",
    "\n</information>",
    "Question:",
    *SENTENCE_PARTS,
)


class SearchWorld:
    """Questions in four categories: direct retrieval, multi-hop reasoning, entity attributes, comparison.

    Args:
        questions: `made` (on an encyclopedia drawn from `seed`), or a folder with the published sets.
        retriever: `made` (the encyclopedia's own), an index's folder (`imprint search build`), or the address of a
            Search-R1 style server.
        shape: what a request to a server holds: one `query` (the default, as SKILL0's server takes it) or `queries`
            (Search-R1's).
        topk: passages a search gives.
        max_turns: searches and the answer, as published.
        information: passages as `text`, or within `json` as published; by default `text` for made questions.
        seed: of the encyclopedia and its questions, and of what is drawn of the published ones.
        things: in the encyclopedia (2,500); there are eight articles on each.
        train, validation, test: how many made questions each split has (1,200, 120 and 600); `validation` is also how
            many published ones are held out (1,000).
        sets: the published sets to ask from; by default all that are found.
        train_sets: those to train on; by default NQ and HotpotQA.
        limit: at most so many test questions of each published set.
    """

    name = "search"
    categories = CATEGORIES
    templates = Path(__file__).parent / "templates"

    def __init__(
        self,
        *,
        questions: Place = MADE,
        retriever: Place = MADE,
        shape: Literal["query", "queries"] | None = None,
        topk: PositiveInt = TOPK,
        max_turns: PositiveInt = MAX_TURNS,
        information: Format | None = None,
        seed: int = 0,
        things: PositiveInt | None = None,
        train: PositiveInt | None = None,
        validation: PositiveInt | None = None,
        test: PositiveInt | None = None,
        sets: Sequence[str] | None = None,
        train_sets: Sequence[str] | None = None,
        limit: PositiveInt | Mapping[str, int] | None = None,
    ) -> None:
        check_options(
            questions,
            retriever,
            of_published={"sets": sets, "train_sets": train_sets, "limit": limit},
            of_made={"things": things, "train": train, "test": test},
            shape=shape,
        )
        self.questions = questions
        self.where, self.shape = retriever, shape or "query"
        self.topk = topk
        self.max_turns = max_turns
        self.form: Format = information or ("text" if questions == MADE else "json")
        self.seed = seed
        self.things = things or 2500
        held_out = validation or (120 if questions == MADE else 1000)
        self.counts = {"train": train or 1200, "validation": held_out, "test": test or 600}
        self.train_sets = TRAINED_ON if train_sets is None else train_sets
        self.sets, self.limit = sets, limit
        self._asked: dict[str, tuple[Sequence[Task], Mapping[str, Question]]] = {}
        self._routes: dict[str, MadeQuestion] = {}

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split.

        Raises:
            RecipeError: there is no such split, or not so many questions.
            QuestionError: the published sets cannot be read.
        """
        if split not in self.counts:
            raise RecipeError(
                f"there is no split {split!r}", key="split", hint=f"choose from: {', '.join(self.counts)}"
            )
        return self._split(split)[0]

    def question(self, task: Task) -> Question:
        """The question behind a task.

        Raises:
            QuestionError: there is none with this id in the task's split.
        """
        found = self._split(task.split)[1].get(task.id) if task.split in self.counts else None
        if found is None:
            raise QuestionError(
                f"there is no question {task.id!r} in {task.split!r}",
                key="task",
                hint="`imprint envs show search` prints ids; take tasks from `tasks(split)`",
            )
        return found

    def fingerprint(self, task: Task) -> str:
        """What a stored episode of `task` depends on, beside its id."""
        question = self.question(task)
        return f"{question.text}\n{question.answers}\n{self.where}\n{self.topk}\n{self.form}"

    def environment(self) -> Environment:
        return SearchEnvironment(self)

    def episode(self, question: Question) -> SearchEpisode:
        """An episode of `question` with this world's search engine."""
        return SearchEpisode(question, self.engine, topk=self.topk, max_turns=self.max_turns, form=self.form)

    parse_answer = staticmethod(parse_answer)

    @cached_property
    def encyclopedia(self) -> Encyclopedia:
        """What made questions are about."""
        return Encyclopedia(self.seed, self.things)

    @cached_property
    def engine(self) -> Retriever:
        """The search engine; opened when it is first needed."""
        if self.where == MADE:
            return self._own_engine
        with under("env.retriever"):
            return open_retriever(self.where, shape=self.shape)

    @cached_property
    def _own_engine(self) -> Retriever:
        """The search engine over the encyclopedia."""
        return CachedRetriever(Bm25.of(self.encyclopedia.passages()))

    def check_ready(self) -> None:
        """See that the search engine and the published questions are there.

        Raises:
            RetrievalError: no index, or no server that answers.
            QuestionError: no folder with questions.
        """
        if self.where != MADE:
            with under("env.retriever"):
                check_retriever(self.where, self.topk, shape=self.shape)
        if self.questions != MADE:
            with under("env.questions"):
                find_files(Path(self.questions))

    # --- what a base policy is made from --------------------------------------------------------------------------

    phrases = PHRASES
    lessons = (ORDERS, NUMBERS, COMPARING_NUMBERS, READING, *LESSONS)

    def demonstration(self, seed: int, *, lesson: str = "full") -> Demonstration | None:
        """A question with random rules, answered by the scripted teacher; None if the search did not find it."""
        if lesson == ORDERS:
            return carry_out_orders(seed)
        encyclopedia, engine = self._encyclopedias[seed % ENCYCLOPEDIAS]
        if lesson in LARGER:
            return compare_numbers(seed, encyclopedia, LARGER[lesson])
        if lesson == READING:
            return read_out(seed, encyclopedia)
        rules = make_random_rules(seed, encyclopedia, LESSONS[lesson])
        episode = SearchEpisode(
            rules.made.question,
            Renamed(engine, encyclopedia, rules.words),
            topk=self.topk,
            max_turns=self.max_turns,
            form=self.form,
        )
        played = demonstrate(rules, encyclopedia, episode, seed)
        return played if played.success else None

    def language(self) -> Iterator[str]:
        """Demonstrations and real passages, for the tokenizer."""
        for demo in filter(None, (self.demonstration(seed) for seed in range(1500))):
            yield demo.first.observation
            yield from (f"# {page.name}\n{page.description}\n{page.body}" for page in demo.pages)
            yield from (f" {action}\n{result.observation}\n>" for action, result, _ in demo.turns)
        for passage in self.encyclopedia.passages()[::7]:
            yield f" {passage.contents}"
        for task in self.tasks("train")[:400]:
            yield f"Question: {self.question(task).text}"

    def exemplar(self, task: Task) -> Exemplar | None:
        """A made question, answered by the scripted teacher; None if it has no route, or the search did not find it."""
        question = self.question(task)
        if task.id not in self._routes:
            return None
        episode = self.episode(question)
        first = episode.reset()
        turns = list(play(self._routes[task.id], self.encyclopedia, OWN_NAMES, episode))
        steps = tuple(WorkedStep(action, result.observation, task.category) for action, result, _ in turns)
        return Exemplar(task, first.observation, steps) if turns[-1][1].success else None

    @cached_property
    def _encyclopedias(self) -> list[tuple[Encyclopedia, Retriever]]:
        encyclopedias = [Encyclopedia(f"dreams/{number}") for number in range(ENCYCLOPEDIAS)]
        return [(one, CachedRetriever(Bm25.of(one.passages()))) for one in encyclopedias]

    # --- where questions come from --------------------------------------------------------------------------------

    def _split(self, split: str) -> tuple[Sequence[Task], Mapping[str, Question]]:
        if split not in self._asked:
            questions = self._made(split) if self.questions == MADE else self._published.questions(split)
            tasks = [Task(question.id, question.category, split) for question in questions]
            self._asked[split] = tasks, {question.id: question for question in questions}
        return self._asked[split]

    def _made(self, split: str) -> list[Question]:
        made = make_questions(self.encyclopedia, split, self.counts[split], self.seed, self._is_found)
        self._routes.update((one.question.id, one) for one in made)
        return [one.question for one in made]

    def _is_found(self, made: MadeQuestion) -> bool:
        """Whether the way that the skills describe leads to the answer, with the encyclopedia's engine and defaults.

        For a few it does not: gossip comes before the article.
        """
        episode = SearchEpisode(made.question, self._own_engine, topk=TOPK, max_turns=MAX_TURNS, form="text")
        episode.reset()
        *_, (_, result, _) = play(made, self.encyclopedia, OWN_NAMES, episode)
        return result.success

    @cached_property
    def _published(self) -> PublishedQuestions:
        with under("env.questions"):
            return PublishedQuestions(
                self.questions,
                sets=self.sets,
                train_sets=self.train_sets,
                validation=self.counts["validation"],
                limit=self.limit,
                seed=self.seed,
            )


class CachedRetriever:
    """A search engine with a cache: policies ask the same things over and over."""

    def __init__(self, retriever: Retriever, size: int = 100_000) -> None:
        self._one = lru_cache(maxsize=size)(lambda query, k: retriever.search([query], k)[0])

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self._one(query, k) for query in queries]


class SearchEnvironment:
    """One episode of a question."""

    def __init__(self, world: SearchWorld) -> None:
        self.world = world
        self.episode: SearchEpisode | None = None

    def reset(self, task: Task, seed: int) -> StepResult:
        """Start `task`. The search is deterministic: `seed` changes nothing."""
        self.episode = self.world.episode(self.world.question(task))
        return self.episode.reset()

    def step(self, action: str) -> StepResult:
        if self.episode is None:
            raise GameError("step before reset", hint="call reset(task, seed) first")
        return self.episode.step(action)

"""Groups of skills for a curriculum: as their metadata names them, or proposed by clustering their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imprint.errors import LibraryError
from imprint.retrieval.ranking import tokens
from imprint.skills.skill import Skill

MOST = 5_000  # skills that are clustered: the distances are a square
CUTS = 40  # numbers of groups that are tried


@dataclass(frozen=True, slots=True)
class Group:
    """Skills that belong together; `terms` are the words that set a proposed group apart from the others."""

    name: str
    skills: tuple[str, ...]
    terms: tuple[str, ...] = ()


def given_groups(skills: Sequence[Skill]) -> tuple[list[Group], list[Skill]]:
    """The groups that metadata gives (`tasks`, else `category`), by name; and the skills that have neither.

    A skill of several tasks is in several groups; one that serves all tasks is in the group `*`.
    """
    groups: dict[str, list[str]] = {}
    silent = []
    for skill in skills:
        category = skill.metadata.get("category", "").strip()
        names = skill.named_tasks or ((category,) if category else ())
        for name in names:
            groups.setdefault(name, []).append(skill.name)
        if not names:
            silent.append(skill)
    return [Group(name, tuple(sorted(groups[name]))) for name in sorted(groups)], silent


def propose_groups(skills: Sequence[Skill], count: int | None = None, taken: Sequence[str] = ()) -> list[Group]:
    """Groups of skills whose pages use the same words: average linkage over TF-IDF vectors, largest group first.

    Args:
        count: how many groups; None takes the number, at most a third of the skills, that separates them best
            (silhouette).
        taken: names that are not to be given again.

    Raises:
        LibraryError: the extra is not installed, or there are too few or too many skills.
    """
    if not 3 <= len(skills) <= MOST or not 1 <= (count or 1) <= len(skills):
        raise LibraryError(
            f"{len(skills)} skills cannot be put into {count or 'some'} groups",
            hint=f"give 3 to {MOST:,} skills and no more groups than skills, or write `metadata.tasks` by hand",
        )
    skills = sorted(skills, key=lambda skill: skill.name)
    vectors, terms = _vectors(skills)
    labels = _cluster(vectors, count)
    order = sorted(
        set(labels.tolist()), key=lambda label: (-int((labels == label).sum()), int(np.argmax(labels == label)))
    )
    groups: list[Group] = []
    used = set(taken)
    for label in order:
        inside = labels == label
        # What the group is about more than the others are.
        weight = _mean(vectors[inside]) - (_mean(vectors[~inside]) if not inside.all() else 0)
        words = _distinct([terms[place] for place in np.argsort(-weight, kind="stable")[:12]])
        name = _unused("-".join(words[:2]), used)
        used.add(name)
        members = tuple(skill.name for skill, here in zip(skills, inside, strict=True) if here)
        groups.append(Group(name, members, tuple(words)))
    return groups


def _vectors(skills: Sequence[Skill]) -> tuple[Any, list[str]]:
    """A sparse matrix, one row of length 1 a skill, and the word of each column."""
    try:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
    except ImportError as error:
        raise LibraryError(
            "proposing groups needs scikit-learn, which is not installed",
            hint="pip install 'imprint[find]', or write `metadata.tasks` by hand",
        ) from error

    def words(skill: Skill) -> list[str]:
        text = f"{skill.name.replace('-', ' ')} {skill.description} {skill.body}"
        return [word for word in tokens(text) if _is_informative(word) and word not in ENGLISH_STOP_WORDS]

    # Words of one skill alone bind it to no other; words of most skills do not distinguish them.
    for rarest, commonest in ((2, 0.3), (1, 1.0)):
        vectorizer: Any = TfidfVectorizer(analyzer=words, sublinear_tf=True, min_df=rarest, max_df=commonest)
        try:
            found = vectorizer.fit_transform(skills)
        except ValueError:  # no words are left
            continue
        if (found.getnnz(axis=1) > 0).all():
            return found, list(vectorizer.get_feature_names_out())
    raise LibraryError("a page has no words to go by", hint="write `metadata.tasks` by hand")


def _is_informative(word: str) -> bool:
    """Whether it is a word that could name a group: letters and digits, not only digits."""
    return word.isalnum() and not word.isdigit() and (len(word) > 2 or not word.isascii())


def _cluster(vectors: Any, count: int | None) -> NDArray[np.int64]:
    """A label for each row."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    distances = np.clip(1 - (vectors @ vectors.T).toarray(), 0, None)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), method="average")

    def cut(groups: int) -> NDArray[np.int64]:
        return np.asarray(fcluster(tree, groups, criterion="maxclust"), dtype=np.int64)

    if count is not None:
        return cut(count)
    most = max(2, len(vectors) // 3)
    tried = [cut(groups) for groups in sorted({int(n) for n in np.linspace(2, most, min(CUTS, most - 1))})]
    sound = [labels for labels in tried if 1 < len(set(labels.tolist())) < len(vectors)]
    return max(sound, key=lambda labels: silhouette_score(distances, labels, metric="precomputed"), default=cut(1))


def _mean(rows: Any) -> NDArray[np.float64]:
    return np.asarray(rows.mean(axis=0)).ravel()


def _distinct(words: Sequence[str], most: int = 5) -> list[str]:
    """Without forms of a word that is there already (`test`, `tests`, `testing`)."""
    kept: list[str] = []
    for word in words:
        if not any(word.startswith(one[:4]) and one.startswith(word[:4]) for one in kept):
            kept.append(word)
    return kept[:most]


def _unused(name: str, taken: set[str]) -> str:
    number, chosen = 2, name
    while chosen in taken:
        chosen, number = f"{name}-{number}", number + 1
    return chosen

"""Word lists that a user names: a CSV file with the columns dictionary and term; `*` ends a stem."""

import csv
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reranker.columns import FloatArray, StringColumn, closest

WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Terms to look for in texts, whole words only, in any case.

    Attributes:
        dictionaries: where the terms come from.
        by_first: per first word, the rest of each term that starts with it, as words; the last one may end
            in `*`.
        stems: beginnings of words.
    """

    dictionaries: tuple[str, ...]
    by_first: dict[str, tuple[tuple[str, ...], ...]]
    stems: frozenset[str]

    def count(self, texts: StringColumn) -> FloatArray:
        """(n,) occurrences of terms in each text, NaN where there is no text; each distinct text once.

        Punctuation between the words of a term is not compared: "left wing" is found for "left-wing".
        """
        lookup = np.full(len(texts.values) + 1, np.nan)
        lengths = sorted({len(stem) for stem in self.stems})
        starts: dict[str, tuple[tuple[str, ...], ...]] = {}  # how terms go on after a word
        for code in np.unique(texts.codes[texts.codes >= 0]).tolist():
            words, n = WORD.findall(texts.values[code].lower()), 0
            for at, word in enumerate(words):
                if word not in starts:
                    is_stem = any(word[:length] in self.stems for length in lengths)
                    starts[word] = ((),) if is_stem else self.by_first.get(word, ())
                if starts[word]:
                    n += any(_follows(words, at + 1, rest) for rest in starts[word])
            lookup[code] = n
        return lookup[texts.codes]


def _follows(words: list[str], at: int, rest: tuple[str, ...]) -> bool:
    """Whether the words from `at` on go on with the rest of a term."""
    if not rest:
        return True
    end = at + len(rest)
    if len(words) < end or tuple(words[at : end - 1]) != rest[:-1]:
        return False
    last, word = rest[-1], words[end - 1]
    return word.startswith(last[:-1]) if last.endswith("*") else word == last


def read_lexicon(
    path: str | Path, dictionaries: Collection[str] = (), *, exclude: Collection[str] = ()
) -> Lexicon:
    """The terms of some dictionaries of a CSV file; of all of them where none is named.

    Args:
        path: a CSV file with the columns dictionary and term.
        dictionaries: which to read.
        exclude: which not to read.

    Raises:
        ValueError: a column is missing, a dictionary is not in the file, or no term is left.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not {"dictionary", "term"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path}: expected the columns dictionary and term, got {reader.fieldnames}")
        rows = [(row["dictionary"] or "", (row["term"] or "").strip().lower()) for row in reader]
    present = tuple(dict.fromkeys(name for name, _ in rows))
    for name in (*dictionaries, *exclude):
        if name not in present:
            raise ValueError(
                f"{path}: expected a dictionary of {', '.join(present)}, got {name!r}{closest(name, present)}"
            )
    chosen = tuple(name for name in present if name in (dictionaries or present) and name not in exclude)
    return _lexicon(path, chosen, [term for name, term in rows if name in chosen and term])


def _lexicon(path: str | Path, dictionaries: tuple[str, ...], terms: list[str]) -> Lexicon:
    stems: set[str] = set()
    by_first: dict[str, set[tuple[str, ...]]] = {}
    for term in terms:
        words = WORD.findall(term)
        if not words:
            continue
        if term.endswith("*"):
            words[-1] += "*"
        if words[0].endswith("*"):
            stems.add(words[0].removesuffix("*"))
        else:
            by_first.setdefault(words[0], set()).add(tuple(words[1:]))
    if not (stems or by_first):
        raise ValueError(f"{path}: expected terms in {', '.join(dictionaries) or 'it'}, got none")
    ordered = {first: tuple(sorted(rests)) for first, rests in by_first.items()}
    return Lexicon(dictionaries, ordered, frozenset(stems))

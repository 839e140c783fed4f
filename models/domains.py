"""Quality of the news domain a post links to, from a list of ratings that the user names.

The project bundles no list. A domain that nobody rated is "unrated" (NaN), never average.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq

from models.scores import Content, HarmScores

LABEL = "low_quality_news"
_HOST_PREFIXES = ("www.", "m.", "amp.", "mobile.")


@dataclass(frozen=True)
class DomainRatings:
    """Expert ratings of news domains: score 0 (unreliable) to 1 (reliable), by lower-case domain.

    Raises:
        ValueError: a score outside [0, 1] (domain and score are named).
    """

    score_of: dict[str, float]
    name: str

    def __post_init__(self) -> None:
        for domain, score in self.score_of.items():
            if not 0 <= score <= 1:
                raise ValueError(f"{self.name}: expected a score in [0, 1], got {score} for {domain!r}")

    @classmethod
    def read(cls, path: Path | str) -> "DomainRatings":
        """The ratings in a .csv or .parquet file with exactly the columns domain and score.

        Where a list rates "m.example.org" and "example.org" differently, the latter counts for both.

        Raises:
            ValueError: other columns, a score that is no number in [0, 1], no domain in a row, or a domain
                rated twice with different scores.
        """
        path = Path(path)
        columns, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
        if sorted(columns) != ["domain", "score"]:
            raise ValueError(f"{path}: expected the columns ['domain', 'score'], got {columns}")
        listed: dict[str, float] = {}
        for number, (domain, score) in enumerate(rows):
            if domain_of(domain) is None:
                raise ValueError(f"{path}: expected a domain in row {number}, got {domain!r}")
            _add(listed, domain.strip().lower(), score, path)
        score_of: dict[str, float] = {}
        for domain, value in listed.items():
            host = domain_of(domain) or ""
            if host == domain or host not in listed:
                _add(score_of, host, value, path)
        return cls(score_of, path.stem)

    def rate_url(self, url: str) -> float:
        """Score of the longest rated suffix of the url's host, or NaN: unrated.

        "news.example.co.uk" takes its own rating, else that of "example.co.uk", else "co.uk".
        """
        labels = (domain_of(url) or "").split(".")
        for start in range(len(labels) - 1):
            found = self.score_of.get(".".join(labels[start:]))
            if found is not None:
                return found
        return float("nan")

    def rate(self, urls: Sequence[str] | None) -> float:
        """The worst score among a post's urls, or NaN: none of them is rated."""
        scores = [score for score in map(self.rate_url, urls or ()) if not np.isnan(score)]
        return min(scores, default=float("nan"))

    def score(self, content: Content) -> HarmScores:
        """A scorer of the label low_quality_news: 1 - the worst rating, with confidence 1.

        A rating is an expert's mean judgement of the domain, not of the post; unrated posts are unscored.
        """
        bad = 1 - np.array([self.rate(urls) for urls in content.urls], dtype=np.float32).reshape(-1, 1)
        confidence = np.where(np.isnan(bad), np.nan, 1.0).astype(np.float32)
        return HarmScores((LABEL,), bad, confidence, f"domains:{self.name}")


def domain_of(url: str) -> str | None:
    """Host of a url (or bare host) in lower case and ASCII form, without www., m. or amp.; None if bad."""
    try:
        host = urlsplit(url.strip() if "//" in url else f"//{url.strip()}").hostname or ""
        host = host.rstrip(".").encode("idna").decode("ascii") if not host.isascii() else host.rstrip(".")
    except (ValueError, UnicodeError):
        return None
    for prefix in _HOST_PREFIXES:
        if host.startswith(prefix) and host.count(".") > 1:
            host = host.removeprefix(prefix)
    is_host = "." in host.strip(".") and all(char.isalnum() or char in ".-_" for char in host)
    return host if is_host else None


def _add(score_of: dict[str, float], domain: str, score: str | float, path: Path) -> None:
    try:
        value = float(score)
    except ValueError:
        raise ValueError(f"{path}: expected a number for {domain!r}, got {score!r}") from None
    if score_of.setdefault(domain, value) != value:
        raise ValueError(f"{path}: expected one score for {domain!r}, got {score_of[domain]} and {value}")


def _read_csv(path: Path) -> tuple[list[str], Iterable[tuple[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    return list(reader.fieldnames or []), [(row.get("domain") or "", row.get("score") or "") for row in rows]


def _read_parquet(path: Path) -> tuple[list[str], Iterable[tuple[str, str]]]:
    table = pq.read_table(path)
    if not {"domain", "score"} <= set(table.column_names):
        return table.column_names, []
    domain, score = (["" if x is None else str(x) for x in table[c].to_pylist()] for c in ("domain", "score"))
    return table.column_names, zip(domain, score, strict=True)

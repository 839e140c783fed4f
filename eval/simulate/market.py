"""Every number of what publishers face, in one frozen dataclass, each marked in its file as to its origin."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.taxonomy import LABELS
from reranker.columns import closest

MARKET = Path(__file__).parent / "publishers-2018.toml"
SCHEMA = 1
MARKS = ("fitted", "documented", "assumed")
ACTS = ("like", "love", "haha", "wow", "sad", "angry", "comment", "reshare", "click", "hide", "report")
PARTS = (
    *("like_per_view", "significant_comment", "significant_reshare", "reply_by_author"),
    *("conversation_click", "conversation_stay", "profile_engagement", "follow", "link_open"),
    *("share", "copy_link", "message", "mute", "block", "video_view"),
)
Pair = tuple[float, float]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Market:
    """The numbers; the file says what each is and where it is from.

    `page_mix` and `user_mix` are per like, `line_effect` and `noise` by act, `labels` by label of the
    taxonomy: log-odds at the line, slope in the closeness to it, what a negative tone adds.
    """

    name: str
    share_before: float
    share_after: float
    n_page: int
    n_friend: int
    n_group: int
    n_stranger: int
    n_publishers: int
    audience: float
    reading_on: float
    user_negative: float
    live: float
    video: float
    adaptation_rate: float
    spread: float
    provocation: float
    line_negative: Pair
    line_other: Pair
    words_other: float
    words_negative: float
    word_rate_ratio: float
    appeal_sd: float
    classifier_error: float
    posts_base: float
    posts_per_comment: float
    comments_per_post: float
    like_for_like: float
    attention: float
    page_mix: Mapping[str, float]
    user_mix: Mapping[str, float]
    line_effect: Mapping[str, float]
    noise: Mapping[str, float]
    parts: Mapping[str, float]
    labels: Mapping[str, Triple]
    marks: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in ("share_before", "share_after", "adaptation_rate", "reading_on"):
            if not 0 < getattr(self, name) < 1 and not (
                name == "adaptation_rate" and self.adaptation_rate == 1
            ):
                raise ValueError(f"{name}: expected a number between 0 and 1, got {getattr(self, name)}")
        for name in ("user_negative", "live", "video", "like_for_like", "attention"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number in [0, 1], got {getattr(self, name)}")
        for name in ("n_page", "n_publishers"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}: expected at least 2, got {getattr(self, name)}")
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type is float and not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{item.name}: expected a finite number of at least 0, got {value}")
        if self.share_before == self.share_after:
            raise ValueError(
                f"share_after: expected another share than before, got {self.share_after}: nothing to fit to"
            )

    @property
    def n_candidates(self) -> int:
        """Candidates of each request."""
        return self.n_page + self.n_friend + self.n_group + self.n_stranger

    @property
    def digest(self) -> str:
        """sha256 of every number, in hexadecimal."""
        numbers = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "marks"}
        plain = {k: sorted(v.items()) if isinstance(v, Mapping) else v for k, v in numbers.items()}
        return hashlib.sha256(repr(sorted(plain.items())).encode()).hexdigest()

    def marked(self, mark: str) -> tuple[str, ...]:
        """The names that have a mark."""
        return tuple(name for name, own in self.marks.items() if own == mark)

    def with_line_effect(self, **effects: float) -> "Market":
        """The market where some acts rise to the line by other amounts."""
        return replace(self, line_effect={**self.line_effect, **effects})


TABLES: dict[str, tuple[str, ...]] = {
    "page_mix": ACTS[1:],
    "user_mix": ACTS[1:],
    "line_effect": ACTS,
    "noise": ACTS,
    "parts": PARTS,
    "labels": tuple(label.name for label in LABELS),
}


def load_market(path: str | Path = MARKET) -> Market:
    """The numbers of a file in the form of publishers-2018.toml.

    Raises:
        ValueError: the file is no TOML, a name is unknown or missing, a value is out of range or unmarked.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected TOML in UTF-8, got {error}") from None
    if content.pop("schema", None) != SCHEMA:
        raise ValueError(f"{path}: schema: expected {SCHEMA}")
    kinds = {item.name: item.type for item in fields(Market)}
    values: dict[str, Any] = {"name": str(content.pop("name", path.stem))}
    marks: dict[str, str] = {}
    for table, entries in content.items():
        if not isinstance(entries, dict):
            raise ValueError(f"{path}: {table}: expected a table, got {entries!r}")
        read = {name: _value(path, f"{table}.{name}", entry, marks) for name, entry in entries.items()}
        if table in TABLES:
            values[table] = _table(path, table, read)
            continue
        for name, value in read.items():
            if name not in kinds or name in TABLES or name in values:
                hint = closest(name, tuple(kinds))
                raise ValueError(f"{path}: {table}.{name}: expected a name of the market, once{hint}")
            values[name] = _of_kind(path, f"{table}.{name}", value, kinds[name])
    missing = sorted(kinds.keys() - values.keys() - {"marks"})
    if missing:
        raise ValueError(f"{path}: expected every number, got none for {', '.join(missing)}")
    try:
        return Market(**values, marks=marks)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _value(path: Path, name: str, entry: Any, marks: dict[str, str]) -> Any:
    if not isinstance(entry, list) or len(entry) not in (2, 3) or entry[1] not in MARKS:
        raise ValueError(f'{path}: {name}: expected [value, "{"|".join(MARKS)}", why], got {entry!r}')
    marks[name] = entry[1]
    return entry[0]


def _table(path: Path, table: str, read: Mapping[str, Any]) -> dict[str, Any]:
    known = TABLES[table]
    odd = sorted(set(read) - set(known)) if table == "labels" else sorted(set(read) ^ set(known))
    if odd:
        raise ValueError(f"{path}: {table}: expected {', '.join(known)}, got {odd[0]} unknown or missing")
    kind: Any = Triple if table == "labels" else float
    found = {name: _of_kind(path, f"{table}.{name}", value, kind) for name, value in read.items()}
    for name, value in found.items():
        if table in ("page_mix", "user_mix", "noise", "parts") and value < 0:
            raise ValueError(f"{path}: {table}.{name}: expected a number of at least 0, got {value}")
    return found


def _of_kind(path: Path, name: str, value: Any, kind: Any) -> Any:
    if kind in (Pair, Triple):
        size = 2 if kind is Pair else 3
        if not isinstance(value, list) or len(value) != size or not all(_is_number(one) for one in value):
            raise ValueError(f"{path}: {name}: expected {size} numbers, got {value!r}")
        return tuple(float(one) for one in value)
    if not _is_number(value) or (kind is int and value != int(value)):
        raise ValueError(f"{path}: {name}: expected a {'count' if kind is int else 'number'}, got {value!r}")
    return kind(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))

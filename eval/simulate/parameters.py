"""Every number of a simulated world in one frozen dataclass, each marked in its file as to its origin."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

ACTIONS = (
    "like",
    "love",
    "haha",
    "wow",
    "sad",
    "angry",
    "comment",
    "significant_comment",
    "reshare",
    "click",
    "hide",
    "report",
)
REACTIONS = ACTIONS[:6]
POSITIVE = ("like", "love", "haha", "wow", "comment", "significant_comment", "reshare")
HARMS = ("misinformation", "disturbing", "graphic_violence", "hate")
RELATIONS = ("page", "friend", "group_member", "stranger")  # as the policies name them
MARKS = ("fitted", "documented", "assumed")
DEFAULT = Path(__file__).parent / "facebook-2018.toml"
SCHEMA = 1

Curve = tuple[float, ...]


@dataclass(frozen=True)
class Parameters:
    """The numbers of a world; the file says what each is and where it is from.

    The `action_` fields have one number per action, in the order of `ACTIONS`. `marks` has one mark per
    name of the file, such as `marks["action_base.like"]`.
    """

    name: str
    n_topics: int
    n_countries: int
    n_publishers: int
    posts_per_publisher: int
    posts_per_user: int
    n_followed: int
    n_friends: int
    n_group: int
    from_followed: int
    from_friends: int
    from_group: int
    from_strangers: int
    n_slots: int
    n_waves: int
    burn_in_weeks: int
    activity_sd: float
    anger_shape: float
    anger_scale: float
    reflection_sd: float
    negative_share: float
    negative_share_users: float
    line_negative: Curve
    line_other: Curve
    line_top: float
    words_other: float
    words_negative: float
    removal_recall: float
    topic_noise: float
    live_share: float
    harm_misinformation: Curve
    harm_disturbing: Curve
    harm_graphic_violence: Curve
    harm_hate: Curve
    harm_topic: float
    classifier_error: float
    action_base: Curve
    action_affinity: Curve
    action_line: Curve
    action_closeness: Curve
    action_noise: Curve
    word_rate_ratio: float
    activity_gain: float
    stop_base: float
    stop_line: float
    stop_fatigue: float
    stop_affinity: float
    time_base_s: float
    time_line: float
    time_line_power: float
    satisfaction_base: float
    satisfaction_affinity: float
    satisfaction_line: float
    satisfaction_harm: float
    survey_cuts: Curve
    survey_answer_base: float
    survey_answer_activity: float
    noise_seen: float
    content_known: float
    prior_events: float
    people_per_user: float
    return_base: float
    return_feedback: float
    return_satisfaction: float
    return_harm: float
    satisfaction_lag: float
    posts_base: float
    posts_like: float
    posts_comment: float
    posts_share: float
    posts_angry: float
    adaptation_rate: float
    spread: float
    gain: float
    leaning: float
    marks: Mapping[str, str]
    digest: str

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name.startswith("action_") and len(value) != len(ACTIONS):
                raise ValueError(f"{item.name}: expected {len(ACTIONS)} numbers, got {len(value)}")
        for name in ("noise_seen", "adaptation_rate", "removal_recall", "satisfaction_lag", "negative_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number in [0, 1], got {getattr(self, name)}")
        if self.n_slots > self.n_candidates:
            raise ValueError(f"n_slots: expected at most {self.n_candidates} candidates, got {self.n_slots}")
        if self.from_followed > self.n_followed * self.posts_per_publisher:
            raise ValueError(f"from_followed: expected no more than there are, got {self.from_followed}")
        if self.prior_events <= 0:
            raise ValueError(f"prior_events: expected a number above 0, got {self.prior_events}")

    @property
    def n_candidates(self) -> int:
        """Candidates of each request."""
        return self.from_followed + self.from_friends + self.from_group + self.from_strangers

    def marked(self, mark: str) -> tuple[str, ...]:
        """The names that have a mark."""
        return tuple(name for name, own in self.marks.items() if own == mark)


def load_parameters(path: str | Path = DEFAULT) -> Parameters:
    """The parameters of a world file.

    Raises:
        ValueError: the file is no TOML, a name is unknown or missing, or a value has no mark.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected TOML in UTF-8, got {error}") from None
    if content.pop("schema", None) != SCHEMA:
        raise ValueError(f"{path}: schema: expected {SCHEMA}")
    known = {item.name: item.type for item in fields(Parameters)}
    values: dict[str, Any] = {"name": str(content.pop("name", path.stem))}
    marks: dict[str, str] = {}
    for table, entries in content.items():
        read = {name: _leaf(path, f"{table}.{name}", entry, marks) for name, entry in entries.items()}
        if table in known:
            _check_names(path, table, read, ACTIONS)
            values[table] = tuple(float(read[action]) for action in ACTIONS)
            continue
        for name, value in read.items():
            if name not in known or name in values or name.startswith("action_"):
                raise ValueError(f"{path}: {table}.{name}: expected a name of Parameters, once")
            values[name] = _typed(path, f"{table}.{name}", value, known[name])
    missing = known.keys() - values.keys() - {"marks", "digest"}
    if missing:
        raise ValueError(f"{path}: expected every parameter, got none for {', '.join(sorted(missing))}")
    digest = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()
    return Parameters(**values, marks=marks, digest=digest)


def _leaf(path: Path, name: str, entry: Any, marks: dict[str, str]) -> Any:
    if not isinstance(entry, list) or len(entry) not in (2, 3) or entry[1] not in MARKS:
        raise ValueError(f'{path}: {name}: expected [value, "{"|".join(MARKS)}", why], got {entry!r}')
    marks[name] = entry[1]
    return entry[0]


def _check_names(path: Path, table: str, read: Mapping[str, Any], expected: tuple[str, ...]) -> None:
    if set(read) != set(expected):
        odd = ", ".join(sorted(set(read) ^ set(expected)))
        raise ValueError(f"{path}: {table}: expected each action once, got {odd} missing or unknown")


def _typed(path: Path, name: str, value: Any, kind: Any) -> Any:
    if kind is Curve or get_args(kind):
        if not isinstance(value, list) or not all(isinstance(one, int | float) for one in value):
            raise ValueError(f"{path}: {name}: expected a list of numbers, got {value!r}")
        return tuple(float(one) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path}: {name}: expected a number, got {value!r}")
    if kind is int and (value != int(value) or value < 0):
        raise ValueError(f"{path}: {name}: expected a count, got {value!r}")
    return kind(value)

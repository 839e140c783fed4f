"""What the signals of a feed reward: diagnostics, each measured, refused or skipped with a reason.

They say what goes together on the posts of a feed, with intervals by publisher, author or user. None says
what a change of the ranking would do: that is for `compare`, `audit compare` and experiments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from eval.borderline import BorderlineCurve
from eval.clustered import Estimate
from eval.gaming import GamingAlarms
from eval.incentives_materials import Materials, near_in_words
from eval.incentives_parts import (
    Correlation,
    SkippedError,
    borderline_of,
    correlations_of,
    gaming_of,
    group_ratio_of,
    headlines_of,
    lifts_of,
    moral_of,
    negative_of,
    reach_of,
    received_of,
)
from eval.incentives_posts import Posts, posts_of
from eval.lift import Lift
from eval.moral_words import MoralWords
from eval.negative_comments import NegativeCommentSlopes
from eval.relation_anger import RelationAnger
from eval.upworthy import WithinTests

Status = Literal["measured", "refused", "skipped"]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Part:
    """One diagnostic.

    Attributes:
        name: of `NAMES`.
        status: measured, refused (the data cannot say), or skipped (something was not given).
        reason: why it is not measured, or "".
    """

    name: str
    status: Status
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Incentives:
    """What was found; a field is empty where its part is not measured.

    Attributes:
        parts: by name, in the order of `NAMES`.
        n_posts, n_units, unit_name: what it rests on.
        policy, policy_digest: whose demotions the borderline curve shows.
        near: what closeness to the line is, in words.
        borderline: by measure.
        moral: by what is counted.
        negative: slopes on negative comments, and of which count.
        negative_of: the count.
        headlines: headlines with negative words against the others of their tests.
        lifts: reaction by harm.
        group_ratio: angry share of the first group over the second's, in the same months.
        groups: their names, as compared.
        correlations: of the angry share.
        received: angry reactions per post by relation.
        gaming: alarms; their posts are indices into `post_ids`.
        post_ids: of the posts with an alarm, by index.
    """

    parts: tuple[Part, ...]
    n_posts: int
    n_units: int
    unit_name: str
    policy: str
    policy_digest: str
    near: str
    borderline: dict[str, BorderlineCurve]
    moral: dict[str, MoralWords]
    negative: NegativeCommentSlopes | None
    negative_of: str
    headlines: WithinTests | None
    lifts: tuple[Lift, ...]
    group_ratio: Estimate | None
    groups: tuple[str, ...]
    correlations: tuple[Correlation, ...]
    received: tuple[RelationAnger, ...]
    gaming: GamingAlarms | None
    post_ids: dict[int, str]

    def part(self, name: str) -> Part:
        """The diagnostic of that name."""
        return next(one for one in self.parts if one.name == name)


def diagnose(materials: Materials) -> Incentives:
    """Every diagnostic that the feed can bear.

    Raises:
        ValueError: a feed without candidates.
    """
    feed = materials.ranking.feed
    if not feed.n:
        raise ValueError("feed: expected candidates, got none")
    posts = posts_of(feed)
    parts: list[Part] = []

    def tried(name: str, make: Callable[[Materials, Posts], Found], otherwise: Found) -> Found:
        try:
            found = make(materials, posts)
        except SkippedError as why:
            parts.append(Part(name, "skipped", str(why)))
            return otherwise
        except ValueError as why:
            parts.append(Part(name, "refused", str(why)))
            return otherwise
        parts.append(Part(name, "measured"))
        return found

    policy = materials.ranking.policy
    borderline = tried("borderline", borderline_of, dict[str, BorderlineCurve]())
    moral = tried("moral words", moral_of, dict[str, MoralWords]())
    negative = tried("negative comments", negative_of, None)
    headlines = tried("headline tests", headlines_of, None)
    lifts = tried("reaction lift", lifts_of, tuple[Lift, ...]())
    ratio = tried("angry groups", group_ratio_of, None)
    correlations = tried("angry correlations", correlations_of, tuple[Correlation, ...]())
    received = tried("angry received", received_of, tuple[RelationAnger, ...]())
    gaming = tried("gaming", gaming_of, None)
    return Incentives(
        parts=tuple(parts),
        n_posts=posts.n,
        n_units=int(posts.unit.max()) + 1,
        unit_name=posts.unit_name,
        policy=policy.name,
        policy_digest=policy.digest,
        near=near_in_words(materials),
        borderline=borderline,
        moral=moral,
        negative=negative,
        negative_of=reach_of(posts)[0] if negative is not None else "",
        headlines=headlines,
        lifts=lifts,
        group_ratio=ratio,
        groups=tuple(dict.fromkeys(materials.groups.values())),
        correlations=correlations,
        received=received,
        gaming=gaming,
        post_ids={} if gaming is None else {
            one.post: posts.ids([one.post])[0] for one in gaming.alarms
        },
    )  # fmt: skip

"""What commands read: their options, and the feeds, scores and rankings that these lead to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from models.device import Placement, place, quiet_memory
from models.scores import Scorer
from reranker.anger import AngerBaseline
from reranker.chunks import in_chunks, one_by_one
from reranker.columns import FeedError
from reranker.engine import Engine
from reranker.feed import Feed
from reranker.location import Location, Where
from reranker.option_groups import options_as
from reranker.pipeline import Reranker, score_harms
from reranker.policy import Policy, PolicyError
from reranker.ranking import Ranking
from reranker.terminal import progress
from reranker.value import Harms

FeedsArgument = Annotated[
    Location,
    typer.Argument(
        parser=Location.of,
        help="Candidates: .parquet, .jsonl or .csv, or a directory of .parquet; a path or a URL such as s3://.",
        show_default=False,
    ),
]
InteractionsOption = Annotated[
    Path | None, typer.Option("--interactions", help="Single acts on the posts, such as comments with text.")
]
PolicyOption = Annotated[str, typer.Option("--policy", "-p", help="NAME_OR_FILE[+OVERLAY...]")]
TruthOption = Annotated[
    list[str] | None,
    typer.Option(
        "--truth",
        help="An attr_ column that holds known harm; repeatable.",
        callback=lambda names: names and [name.removeprefix("attr_") for name in names],
    ),
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="A setting: weights.angry=0; repeatable.")]
LARGEST_SAMPLE = 50_000
_POSTS_AT_ONCE = {"cpu": 512, "cuda": 16_384}  # as few as fill the device, so that processes can share them
SPEEDS = {"default": "bundled", "fast": "bundled-fast"}

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help='"bundled", "none", a classifier or label map; several joined by +, each with :LABEL,...',
    ),
]
SpeedOption = Annotated[
    str,
    typer.Option("--speed", help='"default", or "fast": the small bundled model, quicker and less exact.'),
]
PrevalenceOption = Annotated[
    list[str] | None,
    typer.Option("--prevalence", help="How common a label is in the feed: toxicity=0.01; repeatable."),
]
PrevalenceSampleOption = Annotated[
    Path | None,
    typer.Option(
        "--prevalence-sample",
        help="Posts drawn at random from the feed, over which the mean probability is to be --prevalence.",
    ),
]
DomainsOption = Annotated[Path | None, typer.Option("--domains", help="A file with columns domain, score.")]
ScoresOption = Annotated[Path | None, typer.Option("--scores", help="Scores that `reranker score` made.")]
DeviceOption = Annotated[str, typer.Option("--device", help='"auto", "cpu" or "cuda".')]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Where the result goes.", show_default=False)
]


@contextmanager
def told() -> Iterator[None]:
    """Bad input to the evaluation, which knows no error of its own, as bad input to the command line."""
    try:
        yield
    except ValueError as error:
        raise FeedError(str(error)) from None


def check_output(output: Path, *suffixes: str) -> None:
    """Before the work: the result's name and folder."""
    if suffixes and output.suffix not in suffixes:
        raise FeedError(f"{output}: expected a name that ends in {' or '.join(suffixes)}, got another")
    if not output.resolve().parent.is_dir():
        raise FeedError(f"{output}: expected its folder to exist, got none")


def read(feeds: Where, interactions: Path | None) -> Feed:
    """The feed, with single acts where a file of them is named."""
    from reranker.reading import read_feed

    return read_feed(feeds, interactions=interactions)


@dataclass(frozen=True)
class Reading:
    """With what the texts and links of posts are read, as the options of a command say it."""

    model: str = "bundled"
    domains: Path | None = None
    speed: str = "default"
    prevalence: Sequence[str] = ()
    device: str = "auto"
    prevalence_sample: Path | None = None

    def scorer(self, on_batch: Callable[[int], None] | None = None) -> Scorer | None:
        """The scorer; None where neither a model nor ratings are named.

        Raises:
            LoadError: one cannot be used, or an option has a bad value.
        """
        from reranker.load import load_scorer

        return load_scorer(
            self._source(),
            self.domains,
            device=self.device,
            on_batch=on_batch,
            prevalence=dict(_share(entry) for entry in self.prevalence),
            sample=self._sample(),
        )

    @property
    def reads_anything(self) -> bool:
        """Whether a model or ratings are named."""
        return self._source() is not None or self.domains is not None

    def placement(self) -> Placement:
        """Where the texts are read, and in which precision.

        Raises:
            ValueError: the device is not there.
        """
        if self._source() in {None, SPEEDS["fast"]}:  # these need no torch
            return Placement("cpu", "float32")
        quiet_memory()  # before the first import of torch
        return place(self.device)

    def decided_by(self, placement: Placement) -> dict[str, str]:
        """What decides the scores beside the model's name and the texts, by name.

        Raises:
            OSError: the ratings cannot be read.
        """
        ratings = "none" if self.domains is None else sha256(self.domains.read_bytes()).hexdigest()
        return {
            "domains": ratings,
            "device": placement.device.split(":")[0],
            "precision": placement.precision,
        }

    def _sample(self) -> list[str | None] | None:
        if self.prevalence_sample is None:
            return None
        if not self.prevalence:
            raise PolicyError("--prevalence-sample: expected --prevalence beside it, got none")
        from reranker.posts import read_posts

        texts: list[str | None] = []
        for block in read_posts(self.prevalence_sample, LARGEST_SAMPLE):
            texts += block.content.text
            if len(texts) > LARGEST_SAMPLE:
                raise FeedError(
                    f"{self.prevalence_sample}: expected at most {LARGEST_SAMPLE} posts, drawn at random, "
                    "got more"
                )
        return texts

    def _source(self) -> str | None:
        if self.speed not in SPEEDS:
            raise PolicyError(f"--speed: expected one of {list(SPEEDS)}, got {self.speed!r}")
        if self.speed == "default":
            return None if self.model == "none" else self.model
        if self.model != "bundled":
            raise PolicyError(f"--speed fast: expected --model bundled, got {self.model!r}")
        return SPEEDS[self.speed]


def _reading(
    *,
    model: ModelOption = "bundled",
    speed: SpeedOption = "default",
    prevalence: PrevalenceOption = None,
    prevalence_sample: PrevalenceSampleOption = None,
    domains: DomainsOption = None,
    device: DeviceOption = "auto",
) -> Reading:
    return Reading(model, domains, speed, prevalence or (), device, prevalence_sample)


with_reading = options_as("reading", _reading)


def _share(entry: str) -> tuple[str, float]:
    label, _, share = entry.partition("=")
    try:
        return label, float(share)
    except ValueError:
        raise PolicyError(f"--prevalence: expected LABEL=SHARE, got {entry!r}") from None


def posts_at_once(placement: Placement) -> int:
    """The posts that a scorer gets at once, which decide the last bits of the scores."""
    return _POSTS_AT_ONCE[placement.device.split(":")[0]]


def ranked(
    feeds: Where,
    policy: Policy,
    interactions: Path | None,
    scores: Path | None,
    reading: Reading,
    engine: Engine = Engine(),  # noqa: B008 - it is frozen
) -> Ranking:
    """The feed ranked by a policy, its own posts being the baseline of anger."""
    feed = read(feeds, interactions)
    harms = harms_of(feed, [policy], scores, reading, engine)
    return Reranker(policy, baseline=AngerBaseline.fit(feed)).rank(feed, harms)


def harms_of(
    feed: Feed,
    policies: list[Policy],
    scores: Path | None,
    reading: Reading,
    engine: Engine = Engine(),  # noqa: B008 - it is frozen
) -> Harms | None:
    """Scores from a file, or made now where a policy reads any."""
    if scores is not None:
        from reranker.results import read_harms

        return read_harms(feed, scores)
    if not any(policy.used_labels() for policy in policies):
        return None
    return score_feed(feed, reading, engine)


def score_feed(feed: Feed, reading: Reading, engine: Engine = Engine()) -> Harms | None:  # noqa: B008 - frozen
    """Scores by a model and ratings, with a progress bar; None where neither is named or nothing is there.

    The bytes are the same on every engine, as the texts are cut into chunks in the same way.
    """
    if feed.n == 0 or not reading.reads_anything:
        return None
    with (
        told(),
        engine.session() as session,
        progress("reading texts", len(set(feed.text.values))) as advance,
    ):
        if session is None:
            placement, scorer = reading.placement(), reading.scorer()
            assert scorer is not None  # as it reads something
            score_chunks = one_by_one(scorer)
        else:
            from reranker.ray_scoring import placement_on, scoring_on

            placement = placement_on(session, reading)
            score_chunks = scoring_on(session, reading, placement)
        return score_harms(feed, in_chunks(score_chunks, posts_at_once(placement), advance))

"""`Service`: what every contract needs of a running server: policies, scores, rankings."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from models.scores import Content, HarmScores, Scorer
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import Policy
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.serving.settings import ServeSettings


class BusyError(Exception):
    """The queue of texts is full: answer 503 with Retry-After."""


class ScorerError(Exception):
    """No scores: the scorer is missing, too slow or broken."""


@dataclass(frozen=True)
class Served:
    """A ranking, and why it had to do without scores that its policy asks for (None: it had them)."""

    ranking: Ranking
    degraded: str | None


class Service:
    """State of one running server. Contracts reach the scorer through this alone."""

    def __init__(self, settings: ServeSettings, scorer: Scorer | None) -> None:
        self.settings = settings
        self._scorer = scorer
        self._policies: dict[tuple[str, tuple[str, ...]], Policy] = {}

    def policy(self, spec: str, settings: Sequence[str] = ()) -> Policy:
        """The policy, read once.

        Raises:
            PolicyError: there is none, or a setting is refused.
        """
        key = (spec, tuple(settings))
        if key not in self._policies:
            self._policies[key] = load_policy(spec, settings)
        return self._policies[key]

    async def score(self, content: Content) -> HarmScores:
        """Scores of these posts; texts of concurrent calls share forward passes.

        Raises:
            BusyError: the queue is full.
            ScorerError: there are no scores.
        """
        if self._scorer is None:
            raise ScorerError("no model")
        return await asyncio.to_thread(self._scorer, content)

    async def rank(self, feed: Feed, policy: Policy) -> Served:
        """The feed ranked by the policy; without scores, as the policy's failure rule says.

        Raises:
            BusyError: the queue is full.
            FeedError: the feed lacks what the policy needs.
        """
        scorer = self._scorer
        return Served(await asyncio.to_thread(Reranker(policy, scorer).rank, feed), None)

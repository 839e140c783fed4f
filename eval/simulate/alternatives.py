"""Other values of what nobody published, one at a time: what the answer of the long run hinges on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from eval.simulate.market import Market

Kind = Literal["pools", "response", "pair"]


@dataclass(frozen=True)
class Alternative:
    """One other assumption. The response of publishers is fitted anew under each.

    Attributes:
        name, title: of it.
        kind: what has to be computed again: the candidates, the response alone, or the two parties.
        market: from the numbers to other numbers.
        gain: factor on the fitted gain, the share before held; 1 leaves it.
        before: another policy before, with its settings.
        alone: whether the other pages do not adapt.
    """

    name: str
    title: str
    kind: Kind
    market: Callable[[Market], Market] = lambda market: market
    gain: float = 1.0
    before: tuple[str, tuple[str, ...]] | None = None
    alone: bool = False


def _effect(act: str, value: float) -> Callable[[Market], Market]:
    return lambda market: market.with_line_effect(**{act: value})


def _number(**changes: float) -> Callable[[Market], Market]:
    return lambda market: replace(market, **changes)  # type: ignore[arg-type]


def _people(comments: float) -> Callable[[Market], Market]:
    return lambda market: replace(market, user_mix={**market.user_mix, "comment": comments})


def _rare(market: Market) -> Market:
    return replace(market, page_mix={**market.page_mix, "angry": market.user_mix["angry"]})


CALM_COMMENTS = tuple(
    f"weights.{name}=1"
    for name in ("comment", "significant_comment", "reshare", "reshare_with_text", "significant_reshare")
)
ALTERNATIVES = (
    Alternative("words-1.06", "Each such word: 6% more reshares", "pools", _number(word_rate_ratio=1.06)),
    Alternative("words-1.20", "Each such word: 20% more reshares", "pools", _number(word_rate_ratio=1.20)),
    Alternative("words-few", "Negative posts: 0.4 more such words", "pools", _number(words_negative=0.4)),
    Alternative("words-many", "Negative posts: 1.6 more such words", "pools", _number(words_negative=1.6)),
    Alternative("angry-half", "Angry rises half as much to the line", "pools", _effect("angry", 2.5)),
    Alternative("angry-more", "Angry rises half as much again", "pools", _effect("angry", 7.5)),
    Alternative("angry-rare", "Angry as rare on pages as elsewhere", "pools", _rare),
    Alternative("comments-half", "Comments rise half as much", "pools", _effect("comment", 0.75)),
    Alternative("comments-double", "Comments rise twice as much", "pools", _effect("comment", 3.0)),
    Alternative("reshares-flat", "Reshares do not rise to the line", "pools", _effect("reshare", 0.0)),
    Alternative("reshares-double", "Reshares rise twice as much", "pools", _effect("reshare", 1.2)),
    Alternative("classifier-exact", "Classifiers make no error", "pools", _number(classifier_error=0.0)),
    Alternative("classifier-poor", "Classifiers err twice as much", "pools", _number(classifier_error=1.6)),
    Alternative("people-quiet", "People's posts: a third of the comments", "pools", _people(0.2)),
    Alternative("pages-only", "Only pages compete", "pools", _number(n_friend=0, n_group=0, n_stranger=0)),
    Alternative("gain-low", "Gain three quarters of the fitted one", "response", gain=0.75),
    Alternative("gain-high", "Gain five quarters of the fitted one", "response", gain=1.25),
    Alternative("alike", "Publishers all alike", "response", _number(spread=0.0)),
    Alternative("spread", "Publishers twice as different", "response", _number(spread=1.0)),
    Alternative("alone", "The other pages do not adapt", "response", alone=True),
    Alternative(
        "before-2017",
        "Before: fb-2017, comments and reshares one like",
        "response",
        before=("fb-2017", CALM_COMMENTS),
    ),
    Alternative("attack-alone", "Two parties, attacks provoke nothing", "pair", _number(provocation=0.0)),
    Alternative(
        "attack-double", "Two parties, attacks provoke twice as much", "pair", _number(provocation=1.0)
    ),
)

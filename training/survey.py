"""Weights from surveys: from "how meaningful was this" to what an interaction is worth in likes.

Ordinal answers identify an order and differences of log-odds, not a ratio of worth: that one thing means
thirty times another is nowhere in them. The scale is therefore an assumption, and this is it: a weight is
the ratio of the odds that the same person finds the interaction more meaningful than any given answer to
those odds for a like, with the same relation. On it effects that add up on the latent scale multiply, as
weights and multipliers of a policy do, and neither the number of answers nor their wording matters.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy import special

from reranker.columns import FeedError, FloatArray
from training.fitted_weights import FittedTerm, FittedWeights
from training.survey_country import Country, fit_country
from training.survey_ordinal import expected_answers
from training.survey_pooling import Pooled, pool
from training.survey_responses import Responses, population
from training.survey_variance import Share, decompose, parts_of

UNIT = "like"
REFERENCE = "friend"
LEVEL = 0.95
HALF_WIDTH = float(special.ndtri((1 + LEVEL) / 2))
ASSUMPTIONS = (
    "scale: a weight is the ratio of the odds of a more meaningful answer to those of a like, by the same "
    "person and with the same relation; the answers themselves do not fix a scale",
    "kind and relation add up on the latent scale, so that weights times multipliers have no further term",
    "people of a country differ by one level each, normally; no number is taken to be equal in two countries",
    "the respondents of a country are drawn at random from its people; nothing but the country is weighted",
    "the population's weight is the geometric mean of its countries' weights, by their shares",
    "weights on this scale are above 0: an interaction that people resent comes out near 0, not below",
)


@dataclass(frozen=True, eq=False)
class SurveyFit:
    """What a survey says.

    Attributes:
        weights: of the interactions in likes, and the multipliers, with the evidence.
        variance: shares of the latent variance with intervals; see `decompose`.
        warnings: what is not identified, or weak, and why.
    """

    weights: FittedWeights
    variance: Mapping[str, Share]
    warnings: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """Whom against what, in words."""
        shares = {
            name: f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})" for name, one in self.variance.items()
        }
        gap = self.variance["relation_less_kind"]
        if gap.low > 0:
            verdict = "whom one interacts with matters more than how"
        elif gap.high < 0:
            verdict = "how one interacts matters more than with whom"
        else:
            verdict = "whether whom or how matters more stays open"
        return (
            f"variance of how meaningful it is: relation {shares['relation']}, kind {shares['kind']}, "
            f"person {shares['person']}, the rest {shares['residual']}",
            f"{verdict}: relation less kind {shares['relation_less_kind']}",
        )


def fit_survey(responses: Responses, shares: Mapping[str, float], *, reference: str = REFERENCE) -> SurveyFit:
    """Weights of kinds in likes and multipliers of relations, for the population that the shares describe.

    Args:
        responses: the answers.
        shares: of the population by country; sum 1.
        reference: the relation whose multiplier is 1.

    Raises:
        FeedError: no answer about the unit or the reference, a country without share or without answers, too
            few respondents in one, or one whose answers do not identify the unit or hold too little.
    """
    for name, what, names in ((UNIT, "kind", responses.kinds), (reference, "relation", responses.relations)):
        if name not in names:
            unit = "weights" if what == "kind" else "multipliers"
            raise FeedError(
                f"{what}: expected answers about {name!r}, the unit of the {unit}, got {', '.join(names)}"
            )
    share = population(responses, dict(shares))
    unit_at = responses.kinds.index(UNIT), responses.relations.index(reference)
    countries = [fit_country(responses, at, unit_at) for at in range(len(responses.countries))]
    effect, error = _effects(countries)
    pooled = pool(effect, error, share)
    terms = _terms(responses, countries, pooled)
    variance = decompose([parts_of(one.fit, one.share) for one in countries], share, HALF_WIDTH)
    warnings = _warnings(terms, countries)
    facts = {
        "n_respondents": responses.n_respondents,
        "n_answers": responses.n_answers,
        "n_levels": responses.n_levels,
        "digest": responses.digest,
        "seed": None,
        "unit": UNIT,
        "reference_relation": reference,
        "assumptions": list(ASSUMPTIONS),
        "warnings": list(warnings),
        "variance": {name: asdict(one) for name, one in variance.items()},
        "mean_answer_in_likes": _mean_answers(responses, countries, share),
        "spread_between_countries": pooled.between,
        "countries": [
            _country_facts(responses, one, pooled, at, float(share[at])) for at, one in enumerate(countries)
        ],
    }
    return SurveyFit(FittedWeights("survey", terms, facts), variance, warnings)


def _effects(countries: list[Country]) -> tuple[FloatArray, FloatArray]:
    """(c, K + R) effects and standard errors; NaN where a country does not identify them."""
    told = np.array([np.concatenate([one.told.kinds, one.told.relations]) for one in countries])
    effect, error = np.full(told.shape, np.nan), np.full(told.shape, np.nan)
    for at, one in enumerate(countries):
        of_kind, of_relation, _ = one.fit.errors()
        effect[at, told[at]] = np.concatenate([one.fit.kinds(), one.fit.relations()])
        error[at, told[at]] = np.sqrt(np.concatenate([np.diag(of_kind), np.diag(of_relation)]))
    return effect, error


def _terms(responses: Responses, countries: list[Country], pooled: Pooled) -> tuple[FittedTerm, ...]:
    counts = responses.counts().sum(axis=(0, 3))
    names = (*responses.kinds, *responses.relations)
    rows = np.concatenate([counts.sum(axis=1), counts.sum(axis=0)])
    terms = []
    for at, name in enumerate(names):
        effect, error = pooled.effect[at], pooled.error[at]
        reasons = [f"{one.name}: {one.told.why[name]}" for one in countries if name in one.told.why]
        value, low, high = (None, None, None) if np.isnan(effect) else _ratio(effect, error)
        warning = "; ".join(reasons)
        if warning:
            prefix = "not identified" if value is None else "from the other countries where one cannot tell"
            warning = f"{prefix} ({warning})"
        terms.append(
            FittedTerm(
                name=name,
                kind="weight" if at < len(responses.kinds) else "relationship",
                value=value,
                low=low,
                high=high,
                n=int(rows[at]),
                warning=warning,
            )
        )
    return tuple(terms)


def _ratio(effect: float, error: float) -> tuple[float, float, float]:
    """An effect as a ratio of odds, and its interval."""
    low, high = effect - HALF_WIDTH * error, effect + HALF_WIDTH * error
    return float(np.exp(effect)), float(np.exp(low)), float(np.exp(high))


def _warnings(terms: tuple[FittedTerm, ...], countries: list[Country]) -> tuple[str, ...]:
    of_terms = tuple(f"{term.name}: {term.warning}" for term in terms if term.warning)
    return of_terms + tuple(
        f"country {one.name}: fitted without a level of each person; the answers show none"
        for one in countries
        if not one.fit.spread
    )


def _mean_answers(responses: Responses, countries: list[Country], share: FloatArray) -> dict[str, float]:
    """The weights on another scale, to show what the choice does: mean answer above the lowest, like = 1.

    It takes the answers as equally far apart, cannot go beyond the highest, and does not multiply.
    """
    total, whole = np.zeros(len(responses.kinds)), np.zeros(len(responses.kinds))
    like = 0.0
    unit = responses.kinds.index(UNIT)
    for weight, one in zip(share, countries, strict=True):
        mean = np.full(len(responses.kinds), np.nan)
        mean[one.told.kinds] = expected_answers(
            one.fit, one.share.sum(axis=0), (one.levels - 1).astype(np.float64)
        )
        total += np.where(one.told.kinds, weight * mean, 0.0)
        whole += np.where(one.told.kinds, weight, 0.0)
        like += float(weight * mean[unit])
    return {
        name: float(total[at] / whole[at] / like) for at, name in enumerate(responses.kinds) if whole[at] > 0
    }


def _country_facts(
    responses: Responses, one: Country, pooled: Pooled, at: int, share: float
) -> dict[str, object]:
    """What is said of one country, its weights drawn towards the others'."""
    estimates = {}
    for term, name in enumerate((*responses.kinds, *responses.relations)):
        effect, error = pooled.country[at, term], pooled.country_error[at, term]
        if not np.isnan(effect):
            estimates[name] = dict(zip(("value", "low", "high"), _ratio(effect, error), strict=True))
    return {
        "country": one.name,
        "share": share,
        "n_respondents": one.n_respondents,
        "n_answers": one.n_answers,
        "spread_between_people": one.fit.spread,
        "thresholds": one.fit.thresholds().tolist(),
        "partially_pooled": estimates,
        "not_identified": dict(sorted(one.told.why.items())),
    }

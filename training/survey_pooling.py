"""Effects of countries brought together: weighted to the population, and drawn towards each other.

What is published is the mean over the population of each country's own estimate, so that a country is
neither shrunk away nor counted by how many of its people answered. Pooling fills in what a country could
not tell, and steadies what is said of each country alone.
"""

from dataclasses import dataclass

import numpy as np

from reranker.columns import BoolArray, FloatArray

MIN_SHARE = 0.5  # of the population whose countries must identify an effect


@dataclass(frozen=True, eq=False)
class Pooled:
    """Effects of t terms over c countries.

    Attributes:
        effect, error: (t,) of the population, and standard errors; NaN where too few countries tell.
        between: standard deviation of the true effects between countries, one for all terms.
        country, country_error: (c, t) partially pooled; for a country that cannot tell, the pooled mean.
    """

    effect: FloatArray
    error: FloatArray
    between: float
    country: FloatArray
    country_error: FloatArray


def pool(effect: FloatArray, error: FloatArray, share: FloatArray) -> Pooled:
    """The population's effects, from those of its countries.

    A country that does not identify a term gets the mean of those that do, with the spread between countries
    in its error. A term that countries with less than half of the people identify, or only one of several
    countries, stays NaN.

    Args:
        effect: (c, t) estimates, NaN where a country does not identify the term.
        error: (c, t) standard errors; 0 for the reference.
        share: (c,) of the population, sum 1.

    Source: Gelman and Little, Poststratification into many categories using hierarchical logistic
    regression, 1997; DerSimonian and Laird, Meta-analysis in clinical trials, 1986 (the spread, here over
    all terms at once).
    """
    known = ~np.isnan(effect)
    variance = np.where(known, error, np.inf) ** 2
    between = _between(effect, variance, known)
    n_terms = effect.shape[1]
    found, spread = np.full(n_terms, np.nan), np.full(n_terms, np.nan)
    country, country_error = np.full(effect.shape, np.nan), np.full(effect.shape, np.nan)
    for t in range(n_terms):
        told = known[:, t]
        enough = told.all() or (told.sum() > 1 and share[told].sum() >= MIN_SHARE)
        if not enough:
            continue
        own, noise = effect[told, t], variance[told, t]
        if not noise.any():  # the reference, 0 by definition
            found[t] = spread[t] = 0.0
            country[:, t] = country_error[:, t] = 0.0
            continue
        weight = 1 / (noise + between)
        weight = weight / weight.sum()
        mean = float(weight @ own)
        absent = float(share[~told].sum())
        total = share[told] + absent * weight
        found[t] = total @ own
        lost = absent**2 * float(weight @ weight) + float((share[~told] ** 2).sum())
        spread[t] = np.sqrt(total**2 @ noise + between * lost)
        keep = between / (between + noise)
        own_variance = keep * noise + (1 - keep) ** 2 * float(weight**2 @ (noise + between))
        country[:, t], country_error[:, t] = mean, np.sqrt(between * (1 + float(weight @ weight)))
        country[told, t] = mean + keep * (own - mean)
        country_error[told, t] = np.sqrt(own_variance)
    return Pooled(found, spread, float(np.sqrt(between)), country, country_error)


def _between(effect: FloatArray, variance: FloatArray, known: BoolArray) -> float:
    """Variance of the true effects between countries, over all terms that two or more countries tell."""
    excess, scale = 0.0, 0.0
    for t in range(effect.shape[1]):
        told = known[:, t] & (variance[:, t] > 0)
        if told.sum() < 2:
            continue
        weight = 1 / variance[told, t]
        own = effect[told, t]
        mean = float(weight @ own / weight.sum())
        excess += float(weight @ (own - mean) ** 2) - (int(told.sum()) - 1)
        scale += float(weight.sum() - (weight**2).sum() / weight.sum())
    return max(0.0, excess / scale) if scale else 0.0

"""Whom against what: the variance of how meaningful an interaction is, by relation, kind, person and rest."""

from dataclasses import dataclass

import numpy as np

from reranker.columns import FloatArray
from training.survey_ordinal import OrdinalFit

RESIDUAL = np.pi**2 / 3  # of the logistic distribution
PARTS = ("relation", "kind", "relation_with_kind", "person", "residual")


@dataclass(frozen=True, eq=False)
class Parts:
    """The latent variance of one country.

    Attributes:
        variance: (5,) in the order of `PARTS`; `relation_with_kind` is twice the covariance, 0 where each
            kind is asked about with the same mix of relations.
        gradient: (5, p) its derivatives by the parameters of the fit.
        covariance: (p, p) of the parameters.
    """

    variance: FloatArray
    gradient: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class Share:
    """A share of the variance with its 95% interval."""

    value: float
    low: float
    high: float


def parts_of(fit: OrdinalFit, share: FloatArray) -> Parts:
    """The variance of a country's answers on the latent scale, less what the estimates add by chance.

    Args:
        fit: of the country.
        share: (K, R) of its answers by kind and relation; sum 1.
    """
    kinds, relations = fit.kinds(), fit.relations()
    of_kind, of_relation = share.sum(axis=1), share.sum(axis=0)
    spread_kind = np.diag(of_kind) - np.outer(of_kind, of_kind)
    spread_relation = np.diag(of_relation) - np.outer(of_relation, of_relation)
    together = share - np.outer(of_kind, of_relation)
    error_kind, error_relation, error_both = fit.errors()
    variance = np.array(
        [
            relations @ spread_relation @ relations - np.sum(spread_relation * error_relation),
            kinds @ spread_kind @ kinds - np.sum(spread_kind * error_kind),
            2 * (kinds @ together @ relations - np.sum(together * error_both)),
            fit.spread**2,
            RESIDUAL,
        ]
    )
    first, second = fit.design.n_kinds - 1, fit.design.n_kinds + fit.design.n_relations - 2
    gradient = np.zeros((5, fit.design.size))
    gradient[0, first:second] = np.delete(2 * spread_relation @ relations, fit.design.relation)
    gradient[1, :first] = np.delete(2 * spread_kind @ kinds, fit.design.kind)
    gradient[2, :first] = np.delete(2 * together @ relations, fit.design.kind)
    gradient[2, first:second] = np.delete(2 * kinds @ together, fit.design.relation)
    if fit.design.random:
        gradient[3, -1] = 2 * fit.spread**2
    return Parts(variance, gradient, fit.covariance)


def decompose(countries: list[Parts], share: FloatArray, level: float) -> dict[str, Share]:
    """The population's shares by part, and `relation_less_kind`: above 0 where whom matters more than what.

    Args:
        countries: each one's variance.
        share: (c,) of the population.
        level: half-width of the intervals in standard errors.
    """
    mean = share @ np.array([parts.variance for parts in countries])
    total = float(mean.sum())
    contrasts = np.vstack([np.eye(5), np.array([1.0, -1.0, 0.0, 0.0, 0.0])])
    value = contrasts @ mean / total
    # d (part / total) = (d part - value * d total) / total
    change = (contrasts - value[:, None]) / total
    variance = np.zeros(6)
    for weight, parts in zip(share, countries, strict=True):
        slope = weight * change @ parts.gradient
        variance += np.einsum("ip,pq,iq->i", slope, parts.covariance, slope)
    half = level * np.sqrt(variance)
    names = (*PARTS, "relation_less_kind")
    return {
        name: Share(float(v), float(v - h), float(v + h))
        for name, v, h in zip(names, value, half, strict=True)
    }

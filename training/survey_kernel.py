"""The loop of the ordinal model, compiled: each respondent's level integrated out, with what Newton needs.

Additions come in a fixed order, without fast-math. Records are named tuples because compiled loops read them.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numba import njit

from reranker.columns import FloatArray, IntArray

Function = TypeVar("Function", bound=Callable[..., object])
compiled: Callable[[Function], Function] = njit(cache=True, nogil=True)
inlined: Callable[[Function], Function] = njit(cache=True, nogil=True, inline="always")
NEGLIGIBLE = 1e-12  # a node with less of a respondent's posterior adds nothing that a float would show


class Answers(NamedTuple):
    """Counts of n respondents: (n + 1,) starts, (m,) cell, (m,) times."""

    starts: IntArray
    cell: IntArray
    times: IntArray


class Tables(NamedTuple):
    """The model at its parameters, for c cells and q nodes of the respondents' level.

    Attributes:
        log_node: (q,) log of the weight of each node.
        log_node_slope: (q,) its derivative by the last parameter; empty where respondents have one level.
        log_p: (c, q) log-probability of each cell's answer.
        slope: (c, q, 4) its derivatives by the parameters in `column`.
        column: (c, 4) the parameters that a cell depends on; -1 for none.
    """

    log_node: FloatArray
    log_node_slope: FloatArray
    log_p: FloatArray
    slope: FloatArray
    column: IntArray


class Sums(NamedTuple):
    """Over respondents, with p parameters, of the observed log-likelihood.

    Attributes:
        log_likelihood: without the constant of the counts.
        score: (n, p) its derivatives, respondent by respondent.
        missing: (p, p) sum over respondents of the variance of the score over the nodes: the information
            that is lost because the level is not observed.
        expected: (c, q) answers by cell and node.
        occupied: (q,) respondents by node.
    """

    log_likelihood: float
    score: FloatArray
    missing: FloatArray
    expected: FloatArray
    occupied: FloatArray


@inlined
def _posterior(answers: Answers, tables: Tables, who: int, weight: FloatArray) -> float:
    """Fills (q,) the respondent's posterior over the nodes; returns the log-likelihood."""
    weight[:] = tables.log_node
    for row in range(answers.starts[who], answers.starts[who + 1]):
        cell, times = answers.cell[row], answers.times[row]
        for node in range(len(weight)):
            weight[node] += times * tables.log_p[cell, node]
    top = weight.max()
    mass = 0.0
    for node in range(len(weight)):
        weight[node] = np.exp(weight[node] - top)
        mass += weight[node]
    for node in range(len(weight)):
        weight[node] /= mass
    return float(top + np.log(mass))


@inlined
def _score_at(answers: Answers, tables: Tables, who: int, node: int, one: FloatArray) -> None:
    """Fills (p,) the score that the respondent's answers have if the level is the node's."""
    one[:] = 0.0
    for row in range(answers.starts[who], answers.starts[who + 1]):
        cell, times = answers.cell[row], answers.times[row]
        for k in range(4):
            if tables.column[cell, k] >= 0:
                one[tables.column[cell, k]] += times * tables.slope[cell, node, k]
    if len(tables.log_node_slope) > 0:
        one[-1] = tables.log_node_slope[node]


@compiled
def integrate(answers: Answers, tables: Tables, size: int) -> Sums:
    """The sums at the parameters that the tables were made with; `size` is how many there are."""
    n, n_nodes = len(answers.starts) - 1, len(tables.log_node)
    total = 0.0
    score = np.zeros((n, size))
    missing = np.zeros((size, size))
    expected = np.zeros(tables.log_p.shape)
    occupied = np.zeros(n_nodes)
    weight = np.empty(n_nodes)
    one = np.empty(size)
    for who in range(n):
        total += _posterior(answers, tables, who, weight)
        for node in range(n_nodes):
            if weight[node] < NEGLIGIBLE:
                continue
            occupied[node] += weight[node]
            _score_at(answers, tables, who, node, one)
            for row in range(answers.starts[who], answers.starts[who + 1]):
                expected[answers.cell[row], node] += weight[node] * answers.times[row]
            for a in range(size):
                score[who, a] += weight[node] * one[a]
                for b in range(a + 1):
                    missing[a, b] += weight[node] * one[a] * one[b]
        for a in range(size):
            for b in range(a + 1):
                missing[a, b] -= score[who, a] * score[who, b]
    missing += np.tril(missing, -1).T
    return Sums(total, score, missing, expected, occupied)

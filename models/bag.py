"""The fast classifier: word pieces looked up in tables, without matrix products over the tokens (no torch).

A convolution over embeddings followed by pooling. What each token adds to each filter at each place of the
span is computed once, at loading, so that a text costs `span` additions of a table row per token:

    hidden_i = relu(bias + sum_j table[id_(i + j - span // 2), j])        (filters,), 0 outside the text
    pooled   = [mean of hidden_i weighted by exp(token_weight[id_i]), max of hidden_i]
    state    = relu(hidden(layer_norm(pooled)))
    logits   = head(state),  distance = |familiarity(state)|^2

The convolution over words is that of Y. Kim, "Convolutional neural networks for sentence classification",
2014. training.student holds the same model for training.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.artifact import Artifact, Weights, read_weights

MODEL_TYPE = "harm-bag"

Floats = NDArray[np.float32]

_EPSILON = 1e-5
_TEXTS_AT_ONCE = 4096
_MEASURE = frozenset({"familiarity.weight", "familiarity.bias"})
_NAMES = frozenset(
    f"{layer}.{part}" for layer in ("filters", "norm", "hidden", "head") for part in ("weight", "bias")
) | {"embedding.weight", "token_weight.weight"}


class Tables(NamedTuple):
    """What the compiled loops read: `table` (vocabulary, span, filters), `importance` (vocabulary,), layers.

    The matrices of `hidden`, `head` and `measure` are (in, out); `measure` has no column where the
    classifier does not measure the distance.
    """

    table: Floats
    importance: Floats
    bias: Floats
    norm: tuple[Floats, Floats]
    hidden: tuple[Floats, Floats]
    head: tuple[Floats, Floats]
    measure: tuple[Floats, Floats]


class BagModel:
    """The tables of a fast classifier in memory."""

    def __init__(self, directory: Path, artifact: Artifact) -> None:
        """Loads the weights, which `read_artifact` has checked.

        Raises:
            ValueError: the weights do not fit together, or are those of another model.
        """
        weights = read_weights(directory)
        span = int(artifact.encoder["span"])
        _check(weights, span, len(artifact.labels), directory)
        self._tables = Tables(
            table=_table(weights["embedding.weight"], weights["filters.weight"], span),
            importance=np.exp(weights["token_weight.weight"].ravel()),
            bias=weights["filters.bias"],
            norm=(weights["norm.weight"], weights["norm.bias"]),
            hidden=(_transposed(weights["hidden.weight"]), weights["hidden.bias"]),
            head=(_transposed(weights["head.weight"]), weights["head.bias"]),
            measure=_measure(weights),
        )

    def logits(
        self, ids: Sequence[Sequence[int]], on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """float64 (n, L + 1) for n texts of token ids: a logit per label, and the distance from the training.

        The distance is 0 where the classifier does not measure it (see models.familiarity). `on_batch`
        gets the number of texts done so far. What a text gets is the same whatever texts are beside it.

        Raises:
            ValueError: a token id is outside the vocabulary.
        """
        found = np.empty((len(ids), len(self._tables.head[1]) + 1), dtype=np.float32)
        for start in range(0, len(ids), _TEXTS_AT_ONCE):
            part = ids[start : start + _TEXTS_AT_ONCE]
            _write_logits(self.features(part), self._tables, found[start : start + len(part)])
            if on_batch is not None:
                on_batch(start + len(part))
        return found.astype(np.float64)

    def features(self, ids: Sequence[Sequence[int]]) -> Floats:
        """float32 (n, hidden): what the heads read of n texts of token ids.

        Raises:
            ValueError: a token id is outside the vocabulary.
        """
        offsets = np.zeros(len(ids) + 1, dtype=np.int64)
        np.cumsum([len(entry) for entry in ids], out=offsets[1:])
        tokens = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=int(offsets[-1]))
        size = len(self._tables.table)
        if len(bad := tokens[(tokens < 0) | (tokens >= size)]):
            raise ValueError(f"ids: expected numbers from 0 to {size - 1}, got {bad[0]}")
        states = np.empty((len(ids), len(self._tables.hidden[1])), dtype=np.float32)
        _write_states(tokens, offsets, self._tables, states)
        return states


def _table(embedding: Floats, filters: Floats, span: int) -> Floats:
    """float32 (vocabulary, span, filters) out of (vocabulary, width) and (span * filters, width)."""
    return np.ascontiguousarray((embedding @ filters.T).reshape(len(embedding), span, -1))


def _transposed(matrix: Floats) -> Floats:
    return np.ascontiguousarray(matrix.T)


def _measure(weights: Weights) -> tuple[Floats, Floats]:
    if "familiarity.weight" not in weights:
        return np.zeros((len(weights["hidden.bias"]), 0), np.float32), np.zeros(0, np.float32)
    return _transposed(weights["familiarity.weight"]), weights["familiarity.bias"]


def _check(weights: Weights, span: int, n_labels: int, directory: Path) -> None:
    if set(weights) not in (_NAMES, _NAMES | _MEASURE):
        raise ValueError(f"{directory}: expected the weights {sorted(_NAMES)}, got {sorted(weights)}")
    n_filters = len(weights["filters.bias"])
    vocabulary, width = weights["embedding.weight"].shape
    n_hidden = len(weights["hidden.bias"])
    expected = {
        "filters.weight": (span * n_filters, width),
        "token_weight.weight": (vocabulary, 1),
        "norm.weight": (2 * n_filters,),
        "norm.bias": (2 * n_filters,),
        "hidden.weight": (n_hidden, 2 * n_filters),
        "head.weight": (n_labels, n_hidden),
        "head.bias": (n_labels,),
        "familiarity.weight": (n_hidden, n_hidden),
        "familiarity.bias": (n_hidden,),
    }
    for name, shape in expected.items():
        if name in weights and weights[name].shape != shape:
            raise ValueError(f"{directory}: {name}: expected shape {shape}, got {weights[name].shape}")


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write_states(tokens: NDArray[np.int32], offsets: NDArray[np.int64], tables: Tables, out: Floats) -> None:
    """Fills out (n, hidden) text by text; every sum has one order, so that no text depends on another."""
    pooled = np.empty(2 * len(tables.bias), dtype=np.float32)
    for row in range(len(offsets) - 1):
        _pool(tokens[offsets[row] : offsets[row + 1]], tables.table, tables.importance, tables.bias, pooled)
        _normalise(pooled, tables.norm[0], tables.norm[1])
        state = out[row]
        _linear(pooled, tables.hidden[0], tables.hidden[1], state)
        for h in range(len(state)):
            state[h] = max(state[h], np.float32(0))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write_logits(states: Floats, tables: Tables, out: Floats) -> None:
    """Fills out (n, L + 1) with the logits of each state and its distance."""
    n_labels = len(tables.head[1])
    measured = np.empty(len(tables.measure[1]), dtype=np.float32)
    for row in range(len(states)):
        _linear(states[row], tables.head[0], tables.head[1], out[row, :n_labels])
        _linear(states[row], tables.measure[0], tables.measure[1], measured)
        distance = np.float32(0)
        for j in range(len(measured)):
            distance += measured[j] ** 2
        out[row, n_labels] = distance


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pool(tokens: NDArray[np.int32], table: Floats, importance: Floats, bias: Floats, pooled: Floats) -> None:
    """Weighted mean and maximum of the filters over a text, into pooled (2 * filters,); 0 without tokens."""
    n, n_filters, span = len(tokens), len(bias), table.shape[1]
    pooled[:] = 0
    if n == 0:
        return
    place = np.empty(n_filters, dtype=np.float32)
    total = np.float32(0)
    for i in range(n):
        place[:] = bias
        for j in range(max(0, span // 2 - i), min(span, n - i + span // 2)):
            added = table[tokens[i + j - span // 2], j]
            for f in range(n_filters):
                place[f] += added[f]
        share = importance[tokens[i]]
        total += share
        for f in range(n_filters):
            value = max(place[f], np.float32(0))
            pooled[f] += share * value
            pooled[n_filters + f] = max(pooled[n_filters + f], value)
    for f in range(n_filters):
        pooled[f] /= total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _normalise(values: Floats, scale: Floats, shift: Floats) -> None:
    """Layer normalisation in place."""
    mean = np.float32(0)
    for i in range(len(values)):
        mean += values[i]
    mean /= np.float32(len(values))
    spread = np.float32(0)
    for i in range(len(values)):
        spread += (values[i] - mean) ** 2
    divisor = np.float32(np.sqrt(spread / np.float32(len(values)) + np.float32(_EPSILON)))
    for i in range(len(values)):
        values[i] = (values[i] - mean) / divisor * scale[i] + shift[i]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _linear(values: Floats, matrix: Floats, bias: Floats, out: Floats) -> None:
    """Out = values @ matrix + bias, with matrix (in, out), row by row."""
    out[:] = bias
    for i in range(len(values)):
        value, row = values[i], matrix[i]
        for j in range(len(out)):
            out[j] += value * row[j]

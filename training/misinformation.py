"""`python -m training.misinformation --head FILE --examples FILE --encoder PATH|HUB_ID --out FILE`.

What a misinformation head reaches on a data set that it was not trained on, trained on permissive data alone,
on all other data, or as a mixture of both by the kind of text. The encoder is not trained: fine-tuned weights
have seen the sets left out. Beside the first two stand TF-IDF, and length, capitals and punctuation alone.
"""

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artifact import MANIFEST
from models.encoder import reading
from models.examples import LabelledTexts
from training.atomic import write_json
from training.command import run_command
from training.corpora import CORPORA
from training.features import encoder_features
from training.floor import style
from training.head import HeadConfig, fit_head
from training.leave_out import data_set_of
from training.metrics import auroc
from training.provenance import commit
from training.run import ABOUT
from training.settings import read_settings
from training.start import starting_model

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Fit = Callable[[Rows, Rows], Floats]

LABEL = "misinformation"
MIN_ROWS = 20
RELATED = (frozenset({"coaid", "constraint_covid"}),)  # they collect the same fact checks
_KIND_PENALTY = 1000.0


@dataclass(frozen=True)
class _Heads:
    """Fits heads on n texts of one label, and scores others of them.

    `features` is (n, width); the texts marked in `permissive` (n,) may train weights that ship. `simple` are
    the fits without an encoder.
    """

    config: HeadConfig
    texts: LabelledTexts
    features: NDArray[np.float32]
    permissive: NDArray[np.bool_]
    simple: dict[str, Fit]

    def figures(self, test: Rows, others: Rows) -> dict[str, dict[str, float]]:
        """AUROC on `test` of the heads that `others` may train."""
        false = self.texts.target[:, 0] >= 0.5
        fits = {"encoder": self._linear, **self.simple}
        scores: dict[str, dict[str, Floats]] = {}
        for head, rows in (("permissive", others[self.permissive[others]]), ("all", others)):
            if 0 < false[rows].sum() < len(rows):
                scores[head] = {name: fit(rows, test) for name, fit in fits.items()}
        if len(scores) > 1 and not self.permissive[others].all():
            share = self._unlike_permissive(others, test)
            permissive, every = (scores[head]["encoder"] for head in ("permissive", "all"))
            scores["by_kind"] = {"encoder": (1 - share) * permissive + share * every}
        return {
            head: {fit: round(auroc(score, false[test]), 4) for fit, score in found.items()}
            for head, found in scores.items()
        }

    def _linear(self, rows: Rows, test: Rows) -> Floats:
        """Logits of a layer of `training.head`, standardised over the texts it was fitted on."""
        weights, _ = fit_head(self.config, self.features[rows], self.texts.take(rows))
        known, found = (self.features[part].astype(np.float64) @ weights[0] for part in (rows, test))
        return np.asarray((found - known.mean()) / max(float(known.std()), 1e-9))

    def _unlike_permissive(self, others: Rows, test: Rows) -> Floats:
        """How likely each text is one of the data that may not ship, were there as many of these."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - dev extra
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - dev extra
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - dev extra

        model = LogisticRegression(C=1 / _KIND_PENALTY, max_iter=500, class_weight="balanced")
        kind = make_pipeline(StandardScaler(), model).fit(self.features[others], ~self.permissive[others])
        return np.asarray(kind.predict_proba(self.features[test])[:, 1])


def compare(
    config: HeadConfig, texts: LabelledTexts, features: NDArray[np.float32], permissive: frozenset[str]
) -> dict[str, Any]:
    """AUROC on each data set left out, by head, and the means over the sets.

    `features` is (n, width); `permissive` names the sources whose licence lets trained weights ship. A data
    set is what follows the last "/" of a source: its own labels and another annotator's of the same texts
    are left out together, and so are near-duplicates of its texts. "apart" has the figures of related data
    sets when all of them are left out together, and "mean_apart" the means with these instead.

    The head "by_kind" is the one of permissive data for texts like these, and the one of all data for texts
    like the others, weighted by how likely a text is the one or the other.
    """
    column = [texts.labels.index(LABEL)]
    texts = replace(texts, labels=(LABEL,), target=texts.target[:, column], weight=texts.weight[:, column])
    simple = {"tfidf": _tfidf(texts), "no_words": _no_words(texts)}
    heads = _Heads(config, texts, features, np.isin(texts.source, sorted(permissive)), simple)
    data_set = _data_sets(texts)
    sets: dict[str, Any] = {}
    apart: dict[str, Any] = {}
    for name, test, others in left_out(texts):
        counts = {"n": len(test), "n_positive": int((texts.target[test, 0] >= 0.5).sum())}
        sets[name] = counts | heads.figures(test, others)
        for group in RELATED:
            relatives = np.isin(data_set[others], sorted(group - {name}))
            if name in group and relatives.any():
                apart[name] = counts | heads.figures(test, others[~relatives])
        _log.info("%s done", name)
    return {"sets": sets, "mean": _means(sets), "apart": apart, "mean_apart": _means(sets | apart)}


def left_out(texts: LabelledTexts) -> Iterator[tuple[str, Rows, Rows]]:
    """Each data set with at least 20 texts of both kinds: its name, its rows, and the rows that may train."""
    target = texts.target[:, texts.labels.index(LABEL)]
    known = ~np.isnan(target)
    data_set = _data_sets(texts)
    for name in np.unique(data_set[known]):
        test = np.flatnonzero(known & (data_set == name))
        n_positive = int((target[test] >= 0.5).sum())
        if min(n_positive, len(test) - n_positive) >= MIN_ROWS:
            seen = np.isin(texts.group, texts.group[test])
            yield str(name), test, np.flatnonzero(known & (data_set != name) & ~seen)


def _data_sets(texts: LabelledTexts) -> NDArray[np.str_]:
    return np.array([data_set_of(source) for source in texts.source.tolist()])


def _tfidf(texts: LabelledTexts) -> Fit:
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - dev extra
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - dev extra

    def scores(rows: Rows, test: Rows) -> Floats:
        known, left = texts.take(rows), texts.take(test)
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32)
        counts = words.fit_transform(known.text)
        model = LogisticRegression(C=2.0, max_iter=200)
        model.fit(counts, known.target[:, 0] >= 0.5, sample_weight=known.weight[:, 0])
        return np.asarray(model.decision_function(words.transform(left.text)))

    return scores


def _no_words(texts: LabelledTexts) -> Fit:
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - dev extra

    marks = np.array([style(entry) for entry in texts.text])

    def scores(rows: Rows, test: Rows) -> Floats:
        model = HistGradientBoostingClassifier(random_state=0)
        model.fit(marks[rows], texts.target[rows, 0] >= 0.5, sample_weight=texts.weight[rows, 0])
        return np.asarray(model.predict_proba(marks[test])[:, 1])

    return scores


def _means(sets: dict[str, Any]) -> dict[str, dict[str, float]]:
    means: dict[str, dict[str, float]] = {}
    for head in ("permissive", "all", "by_kind"):
        found = [figures[head] for figures in sets.values() if head in figures]
        if found:
            means[head] = {
                fit: round(float(np.mean([figures[fit] for figures in found])), 4) for fit in found[0]
            }
    return means


def main() -> None:
    """Reads the arguments, embeds, compares, writes JSON."""
    parser = argparse.ArgumentParser(prog="training.misinformation", description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="TOML file of training.head")
    parser.add_argument("--examples", type=Path, required=True, help="file of training.prepare")
    parser.add_argument("--encoder", required=True, help="path or hub id of an encoder, not fine-tuned")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    config = read_settings(arguments.head, HeadConfig)
    if any((Path(arguments.encoder) / name).exists() for name in (ABOUT, MANIFEST)):
        parser.error(f"--encoder: expected one as published, got a trained one: {arguments.encoder}")
    texts = LabelledTexts.read(arguments.examples)
    if LABEL not in texts.labels:
        raise ValueError(f"{arguments.examples}: expected texts labelled {LABEL!r}, got {list(texts.labels)}")
    texts = texts.take(~np.isnan(texts.target[:, texts.labels.index(LABEL)]))
    model, tokenizer, _ = starting_model(arguments.encoder, (LABEL,))
    features = encoder_features(reading(model, config.read_layers), tokenizer, list(texts.text))
    permissive = frozenset(corpus.name for corpus in CORPORA if corpus.role == "train")
    figures = compare(config, texts, features, permissive)
    write_json(arguments.out, {"read_layers": config.read_layers, "commit": commit()} | figures)


if __name__ == "__main__":
    run_command(main)

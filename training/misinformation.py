"""`python -m training.misinformation --examples FILE --encoder PATH|HUB_ID --out FILE`: two heads compared.

What a misinformation head reaches on a data set that it was not trained on, trained on permissive data
alone or on all other data. The encoder is not trained: fine-tuned weights have seen the sets left out.
Beside each figure stand two that see no meaning: TF-IDF, and length, capitals and punctuation alone.
"""

import argparse
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.examples import LabelledTexts
from training.atomic import write_json
from training.command import run_command
from training.corpora import CORPORA
from training.floor import style
from training.metrics import auroc

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Fit = Callable[[Rows, Floats, Floats, Rows], Floats]

LABEL = "misinformation"
MIN_ROWS = 20
RIDGE = 0.3
MAX_TOKENS = 64


def compare(
    texts: LabelledTexts, features: NDArray[np.float32], permissive: frozenset[str]
) -> dict[str, Any]:
    """AUROC on each data set left out, for the heads "permissive" and "all", and their means over the sets.

    `features` is (n, width); `permissive` names the sources whose licence lets trained weights ship. A data
    set is what follows the last "/" of a source: its own labels and another annotator's of the same texts
    are left out together, and so are near-duplicates of its texts.
    """
    target = texts.target[:, texts.labels.index(LABEL)].astype(np.float64)
    weight = texts.weight[:, texts.labels.index(LABEL)].astype(np.float64)
    fits: dict[str, Fit] = {
        "encoder": lambda *parts: ridge_scores(features, *parts),
        "tfidf": _tfidf(texts.text),
        "no_words": _no_words(texts.text),
    }
    may_train = {"permissive": np.isin(texts.source, sorted(permissive)), "all": np.ones(texts.n, dtype=bool)}
    sets: dict[str, Any] = {}
    for name, test, others in left_out(texts):
        present = target[test] >= 0.5
        sets[name] = {"n": len(test), "n_positive": int(present.sum())}
        for head, allowed in may_train.items():
            rows = others[allowed[others]]
            if not 0 < (target[rows] >= 0.5).sum() < len(rows):
                continue
            scores = {fit: fits[fit](rows, target[rows], weight[rows], test) for fit in fits}
            sets[name][head] = {fit: round(auroc(score, present), 4) for fit, score in scores.items()}
        _log.info("%s done", name)
    return {"sets": sets, "mean": {head: _mean(sets, head, list(fits)) for head in may_train}}


def left_out(texts: LabelledTexts) -> Iterator[tuple[str, Rows, Rows]]:
    """Each data set with at least 20 texts of both kinds: its name, its rows, and the rows that may train."""
    target = texts.target[:, texts.labels.index(LABEL)]
    known = ~np.isnan(target)
    data_set = np.array([source.rsplit("/", 1)[-1] for source in texts.source.tolist()])
    for name in np.unique(data_set[known]):
        test = np.flatnonzero(known & (data_set == name))
        n_positive = int((target[test] >= 0.5).sum())
        if min(n_positive, len(test) - n_positive) >= MIN_ROWS:
            seen = np.isin(texts.group, texts.group[test])
            yield str(name), test, np.flatnonzero(known & (data_set != name) & ~seen)


def ridge_scores(
    features: NDArray[np.float32], rows: Rows, target: Floats, weight: Floats, test: Rows
) -> Floats:
    """Scores (test,) of a weighted ridge regression on standardised features; the weights sum to one.

    On features this wide it orders texts as logistic regression does, in closed form.
    """
    known = features[rows].astype(np.float64)
    mean, spread = known.mean(axis=0), known.std(axis=0) + 1e-6
    known = (known - mean) / spread
    share = weight / weight.sum()
    centred = known - share @ known
    gram = (centred * share[:, None]).T @ centred + RIDGE * np.eye(known.shape[1])
    head = np.linalg.solve(gram, (centred * share[:, None]).T @ (target - share @ target))
    return np.asarray((features[test].astype(np.float64) - mean) / spread @ head)


def frozen_features(text: list[str], encoder: str, *, batch_size: int = 64) -> NDArray[np.float32]:
    """Mean-pooled last layer (n, width) of an encoder as it is published; texts are cut at 64 tokens.

    Raises:
        OSError: there is no such model.
    """
    import torch  # noqa: PLC0415 - only here
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - imports torch

    from training.batches import tokenize  # noqa: PLC0415 - imports torch

    model = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(encoder).backend_tokenizer
    pad_id = int(getattr(model.config, "pad_token_id", 0) or 0)
    tokens = tokenize(text, tokenizer, max_tokens=MAX_TOKENS, pad_id=pad_id)
    order = np.argsort(tokens.length, kind="stable")
    found: NDArray[np.float32] = np.empty((len(text), int(model.config.hidden_size)), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids, mask = tokens.padded(rows)
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
            kept = mask.unsqueeze(-1).float()  # (rows, length, 1)
            found[rows] = ((hidden * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)).numpy()
    return found


def _tfidf(text: Any) -> Fit:
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - dev extra
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - dev extra

    def scores(rows: Rows, target: Floats, weight: Floats, test: Rows) -> Floats:
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32)
        known = words.fit_transform([text[int(i)] for i in rows])
        model = LogisticRegression(C=2.0, max_iter=200).fit(known, target >= 0.5, sample_weight=weight)
        return np.asarray(model.decision_function(words.transform([text[int(i)] for i in test])))

    return scores


def _no_words(text: Any) -> Fit:
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - dev extra

    marks = np.array([style(entry) for entry in text])

    def scores(rows: Rows, target: Floats, weight: Floats, test: Rows) -> Floats:
        model = HistGradientBoostingClassifier(random_state=0)
        model.fit(marks[rows], target >= 0.5, sample_weight=weight)
        return np.asarray(model.predict_proba(marks[test])[:, 1])

    return scores


def _mean(sets: dict[str, Any], head: str, fits: list[str]) -> dict[str, float]:
    found = [figures[head] for figures in sets.values() if head in figures]
    return {fit: round(float(np.mean([figures[fit] for figures in found])), 4) for fit in fits if found}


def main() -> None:
    """Reads the arguments, embeds, compares, writes JSON."""
    parser = argparse.ArgumentParser(prog="training.misinformation", description=__doc__)
    parser.add_argument("--examples", type=Path, required=True, help="file of training.prepare")
    parser.add_argument("--encoder", required=True, help="path or hub id of an encoder, not fine-tuned")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    texts = LabelledTexts.read(arguments.examples)
    texts = texts.take(~np.isnan(texts.target[:, texts.labels.index(LABEL)]))
    features = frozen_features(list(texts.text), arguments.encoder)
    permissive = frozenset(corpus.name for corpus in CORPORA if corpus.role == "train")
    figures = compare(texts, features, permissive)
    write_json(arguments.out, figures)


if __name__ == "__main__":
    run_command(main)

"""How well our scores agree with Perspective's, attribute by attribute, on comments that it has scored.

    python benchmarks/perspective.py --sample SCORES.csv [--natural WIKI.parquet] [--examples FILE] \
        [--extra FILE ...] [--model bundled] [--output FILE]

SCORES.csv is the example that Perspective's maintainers publish with their documentation: 2,000 Wikipedia
comments with the scores of 2018, one column per attribute (github.com/conversationai/perspectiveapi,
example_data). WIKI.parquet is wiki_context_cat_large with the columns text, toxicity (by people) and
perspective_toxicity. FILE is what the model was trained from (training.prepare), and after --extra stand the
texts without labels that a teacher read for it: comments that it was trained on, told by their letters and
digits alone, are left out of the sample, and only the held-out part of WIKI.parquet is read: all that people
called toxic and 3,000 others, which leaves an AUROC as it is.

Intervals are 95% percentiles of 2,000 bootstrap samples of comments; the corpora say nothing about authors,
by whom comments might be alike. A threshold of ours is the one that flags as many comments as Perspective's.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.normalise import normalised
from models.scores import Content, HarmScores, Scorer
from reranker.load import load_scorer
from training.metrics import auroc, spearman

ATTRIBUTES = {  # columns of the sample, and our labels
    "TOXICITY@6": "toxicity",
    "SEVERE_TOXICITY@2": "severe_toxicity",
    "IDENTITY_ATTACK": "identity_attack",
    "INSULT": "insult",
    "PROFANITY": "profanity",
    "OBSCENE": "profanity",
    "THREAT": "threat",
    "SEXUALLY_EXPLICIT": "sexually_explicit",
}
RETRAINED = {"TOXICITY@6": "TOXICITY@5", "SEVERE_TOXICITY@2": "SEVERE_TOXICITY@1"}
THRESHOLDS = (0.5, 0.7, 0.9)
FEWEST = 30  # comments above a threshold, for what is said of them
N_BOOTSTRAP = 2_000
N_HARMLESS = 3_000

Floats = NDArray[np.float64]
Figure = dict[str, float]


def letters(text: str) -> str:
    """What remains of a text in whatever case, spacing and punctuation."""
    return "".join(filter(str.isalnum, normalised(text).lower()))


def scored(scorer: Scorer, texts: list[str]) -> HarmScores:
    """The scores of English texts."""
    return scorer(Content(texts, ["en"] * len(texts), [None] * len(texts)))


def interval(statistic: Callable[[NDArray[np.int64]], float], n: int) -> Figure:
    """A statistic of rows, and its bootstrap interval."""
    rng = np.random.default_rng(1)
    draws = [statistic(rng.integers(0, n, n)) for _ in range(N_BOOTSTRAP)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return {"value": statistic(np.arange(n)), "low": float(low), "high": float(high)}


def compared(ours: Floats, theirs: Floats) -> dict[str, Any]:
    """How two scores of the same comments agree."""
    found: dict[str, Any] = {
        "n": len(ours),
        "spearman": interval(lambda rows: spearman(ours[rows], theirs[rows]), len(ours)),
        "thresholds": {},
    }
    for threshold in THRESHOLDS:
        if (theirs >= threshold).sum() >= FEWEST:
            found["thresholds"][str(threshold)] = _at(threshold, ours, theirs)
    return found


def _at(threshold: float, ours: Floats, theirs: Floats) -> dict[str, Any]:
    def same(rows: NDArray[np.int64]) -> float:
        return float(np.quantile(ours[rows], 1 - (theirs[rows] >= threshold).mean()))

    def order(rows: NDArray[np.int64]) -> float:
        above = theirs[rows] >= threshold
        return auroc(ours[rows], above) if 0 < above.sum() < len(above) else float("nan")

    flagged = ours >= same(np.arange(len(ours)))
    above = theirs >= threshold
    return {
        "n_above": int(above.sum()),
        "auroc": interval(order, len(ours)),
        "ours": interval(same, len(ours)),
        "also_ours": float(flagged[above].mean()),
    }


def on_sample(scorer: Scorer, path: Path, trained: set[str]) -> dict[str, Any]:
    """Agreement on the published example."""
    table = pd.read_csv(path)
    n = len(table)
    table = table[[letters(text) not in trained for text in table["comment_text"]]]
    scores = scored(scorer, table["comment_text"].tolist())
    found: dict[str, Any] = {"n_left_out": n - len(table)}
    for column, label in ATTRIBUTES.items():
        theirs = table[column].to_numpy(dtype=np.float64)
        if label in scores.labels:
            found[column] = compared(scores.column(label)[0].astype(np.float64), theirs)
    for column, former in RETRAINED.items():
        rows = table[[column, former]].to_numpy(dtype=np.float64)
        found[f"{column} against {former}"] = {
            "n": len(rows),
            "spearman": interval(lambda at, rows=rows: spearman(rows[at, 0], rows[at, 1]), len(rows)),
        }
    return found


def on_natural(scorer: Scorer, path: Path, held_out: set[str]) -> dict[str, Any]:
    """AUROC of both scores against people, by rows that saw no context and by all."""
    table = pd.read_parquet(path, columns=["text", "toxicity", "perspective_toxicity", "split"])
    table = table[[normalised(text or "") in held_out for text in table["text"]]]
    toxic = table["toxicity"] >= 0.5
    others = table[~toxic].sample(min(N_HARMLESS, int((~toxic).sum())), random_state=1)
    table = pd.concat([table[toxic], others])
    ours = scored(scorer, table["text"].tolist()).column("toxicity")[0].astype(np.float64)
    theirs = table["perspective_toxicity"].to_numpy(dtype=np.float64)
    present = (table["toxicity"] >= 0.5).to_numpy()
    alone = (table["split"] == "gn").to_numpy()
    kept = {"all": np.ones(len(table), dtype=bool), "labelled without context": alone}
    return {name: _beside(ours[rows], theirs[rows], present[rows]) for name, rows in kept.items()}


def _beside(ours: Floats, theirs: Floats, present: NDArray[np.bool_]) -> dict[str, Any]:
    n = len(ours)
    return {
        "n": n,
        "n_toxic": int(present.sum()),
        "ours": interval(lambda rows: auroc(ours[rows], present[rows]), n),
        "perspective": interval(lambda rows: auroc(theirs[rows], present[rows]), n),
        "difference": interval(
            lambda rows: auroc(ours[rows], present[rows]) - auroc(theirs[rows], present[rows]), n
        ),
    }


def shown(figure: Figure, form: str = ".2f") -> str:
    """A figure with its interval."""
    return f"{figure['value']:{form}} ({figure['low']:{form}} to {figure['high']:{form}})"


def print_tables(found: dict[str, Any]) -> None:
    """The tables of docs/perspective.md."""
    sample = found["sample"]
    print(f"Model {found['model']}; {sample['n_left_out']} comments of the training left out.\n")
    print(
        "| Perspective's | n | Spearman | threshold of Perspective | comments above | AUROC of ours for these"
        " | our threshold that flags as many | of these, above ours |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, entry in sample.items():
        if not isinstance(entry, dict):
            continue
        begin = f"| {name} | {entry['n']:,} | {shown(entry['spearman'])} |"
        rows = [
            f" {t} | {at['n_above']} | {shown(at['auroc'])} | {shown(at['ours'], '.2g')} |"
            f" {at['also_ours']:.0%} |"
            for t, at in entry.get("thresholds", {}).items()
        ]
        for row in rows or [" - | - | - | - | - |"]:
            print(begin + row)
            begin = "| | | |"
    if "natural" in found:
        print("\n| comments | n | toxic | AUROC of ours | of Perspective | difference |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, entry in found["natural"].items():
            figures = " | ".join(shown(entry[key], ".3f") for key in ("ours", "perspective", "difference"))
            print(f"| {name} | {entry['n']:,} | {entry['n_toxic']} | {figures} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=Path, required=True)
    parser.add_argument("--natural", type=Path)
    parser.add_argument("--examples", type=Path, help="what the model was trained from")
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="texts without labels, likewise")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    scorer = load_scorer(args.model)
    assert scorer is not None
    trained: set[str] = set()
    held_out: set[str] = set()
    if args.examples:
        split = pd.read_parquet(args.examples, columns=["text", "split"])
        trained = {letters(text) for text in split.text[split.split.isin(["train", "dev"])]}
        held_out = set(split.text[split.split == "natural_test"])
    for path in args.extra:
        trained |= {letters(text) for text in pd.read_parquet(path, columns=["text"]).text}
    found: dict[str, Any] = {"model": scored(scorer, ["a"]).model}
    found["sample"] = on_sample(scorer, args.sample, trained)
    if args.natural and held_out:
        found["natural"] = on_natural(scorer, args.natural, held_out)
    print_tables(found)
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

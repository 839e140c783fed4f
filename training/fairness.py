"""Unintended bias of a score: by identity term, by dialect and by political side.

The sentences are templates filled with every term, so that the terms differ in nothing but themselves and
a score that ignores them has the same figures for each.

Source: D. Borkan, L. Dixon, J. Sorensen, N. Thain and L. Vasserman, "Nuanced metrics for measuring
unintended bias with real data for text classification", 2019, equations 1 to 3.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.functional import Bools, Floats, Score, scored
from training.metrics import auroc

POWER = -5.0


@dataclass(frozen=True)
class IdentityTexts:
    """n sentences: every template filled with every one of k terms.

    `toxic` is (n,); `term` is (n,), the index of a sentence's term in `terms` and `categories`.
    """

    text: list[str]
    toxic: Bools
    term: NDArray[np.intp]
    terms: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True)
class SentencePairs:
    """n sentences in two versions that a fair score treats alike; `toxic` is (n,)."""

    first: list[str]
    second: list[str]
    toxic: Bools


def read_identity_texts(path: Path) -> IdentityTexts:
    """The sentences of a JSON file with "terms" and the templates "harmless" and "toxic".

    Raises:
        ValueError: a template has neither {one} nor {many}.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    templates = [(template, kind == "toxic") for kind in ("harmless", "toxic") for template in found[kind]]
    text, toxic, term = [], [], []
    for template, is_toxic in templates:
        if "{one}" not in template and "{many}" not in template:
            raise ValueError(f"{path}: expected {{one}} or {{many}} in each template, got {template!r}")
        for k, entry in enumerate(found["terms"]):
            sentence = template.replace("{one}", entry["one"]).replace("{many}", entry["many"])
            text.append(sentence[0].upper() + sentence[1:])
            toxic.append(is_toxic)
            term.append(k)
    return IdentityTexts(
        text=text,
        toxic=np.array(toxic, dtype=bool),
        term=np.array(term, dtype=np.intp),
        terms=tuple(entry["many"] for entry in found["terms"]),
        categories=tuple(entry["category"] for entry in found["terms"]),
    )


def read_sentence_pairs(path: Path) -> SentencePairs:
    """The pairs of a JSON file whose "pairs" each have "first", "second" and "toxic"."""
    rows = json.loads(path.read_text(encoding="utf-8"))["pairs"]
    return SentencePairs(
        first=[row["first"] for row in rows],
        second=[row["second"] for row in rows],
        toxic=np.array([row["toxic"] for row in rows], dtype=bool),
    )


def subgroup_auroc(score: Floats, toxic: Bools, member: Bools) -> float:
    """AUROC within a group: AUC(D_g- + D_g+), equation 1. Low: the group's own texts are confused."""
    return auroc(score[member], toxic[member])


def bpsn_auroc(score: Floats, toxic: Bools, member: Bools) -> float:
    """Background positive, subgroup negative: AUC(D+ + D_g-), equation 2, where D+ is outside the group.

    Low: harmless texts that mention the group score above toxic texts that do not (false positives).
    """
    rows = toxic != member
    return auroc(score[rows], toxic[rows])


def bnsp_auroc(score: Floats, toxic: Bools, member: Bools) -> float:
    """Background negative, subgroup positive: AUC(D- + D_g+), equation 3, where D- is outside the group.

    Low: toxic texts that mention the group score below harmless texts that do not (misses).
    """
    rows = toxic == member
    return auroc(score[rows], toxic[rows])


def power_mean(values: Floats, power: float = POWER) -> float:
    """Generalised mean ((v_1^p + ... + v_k^p) / k)^(1/p) of k values >= 0; p = -5 leans to the worst.

    Source: Jigsaw, "Unintended bias in toxicity classification" (evaluation), 2019.
    """
    with np.errstate(divide="ignore"):  # a zero among the values makes the mean zero where p < 0
        return float(np.mean(np.asarray(values, dtype=np.float64) ** power) ** (1 / power))


def term_table(score: Score, texts: IdentityTexts, *, threshold: float) -> dict[str, Any]:
    """Figures over all sentences, their power means over terms, and under "terms" those of each term.

    `false_positive_gap` is the share of a term's harmless sentences at or above the threshold, less that
    of the other terms' (positive: flagged more often); `false_negative_gap` is the same for toxic ones
    below it.
    """
    values = scored(score, texts.text)
    terms: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(texts.terms):
        member = texts.term == k
        figures = {
            "subgroup_auroc": subgroup_auroc(values, texts.toxic, member),
            "bpsn_auroc": bpsn_auroc(values, texts.toxic, member),
            "bnsp_auroc": bnsp_auroc(values, texts.toxic, member),
            "false_positive_gap": _gap(values >= threshold, member, ~texts.toxic),
            "false_negative_gap": _gap(values < threshold, member, texts.toxic),
        }
        terms[name] = {"category": texts.categories[k], "n": int(member.sum())} | {
            key: round(value, 4) for key, value in figures.items()
        }
    aurocs = ("subgroup_auroc", "bpsn_auroc", "bnsp_auroc")
    return {
        "n": len(texts.text),
        "threshold": threshold,
        "auroc": round(auroc(values, texts.toxic), 4),
        "false_positive_rate": round(float((values[~texts.toxic] >= threshold).mean()), 4),
        "false_negative_rate": round(float((values[texts.toxic] < threshold).mean()), 4),
        "power_mean": {
            key: round(power_mean(np.array([row[key] for row in terms.values()])), 4) for key in aurocs
        },
        "worst_bpsn": min(terms, key=lambda name: terms[name]["bpsn_auroc"]),
        "terms": terms,
    }


def pair_gap(score: Score, pairs: SentencePairs, *, threshold: float) -> dict[str, dict[str, float | int]]:
    """How much more the first versions score than the second, for "harmless" and "toxic" pairs apart.

    `mean_difference` is first less second, `mean_absolute_difference` its size whatever the sign, and
    `flag_rate_difference` the share of firsts at or above the threshold, less that of seconds.
    """
    n = len(pairs.first)
    values = scored(score, pairs.first + pairs.second)
    first, second = values[:n], values[n:]
    gaps: dict[str, dict[str, float | int]] = {}
    for kind, rows in (("harmless", ~pairs.toxic), ("toxic", pairs.toxic)):
        if rows.any():
            difference = first[rows] - second[rows]
            flagged = (first[rows] >= threshold).mean() - (second[rows] >= threshold).mean()
            gaps[kind] = {
                "n": int(rows.sum()),
                "mean_difference": round(float(difference.mean()), 4),
                "mean_absolute_difference": round(float(np.abs(difference).mean()), 4),
                "flag_rate_difference": round(float(flagged), 4),
            }
    return gaps


def _gap(wrong: Bools, member: Bools, kind: Bools) -> float:
    return float(wrong[kind & member].mean() - wrong[kind & ~member].mean())

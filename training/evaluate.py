"""`python -m training.evaluate --run RUN --examples FILE --plan PLAN [--data DIR] [--cases DIR]`.

Measures the draft of a calibrated run on all that it was not trained on, and writes RUN/evaluation.json, from
which the card is made. Without --data the comparison with Perspective is left out, without --cases the
functional, fairness and robustness tables.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import calibrated_log_odds
from models.classifier import HarmClassifier, familiarity_of
from models.examples import LabelledTexts
from training.annotated import evaluate_annotated
from training.atomic import write_json
from training.calibrate import DRAFT, Held, LabelPlan, held_out, read_plan
from training.command import run_command
from training.evidence import evaluate_calibration, evaluate_label, refusal
from training.fairness import pair_gap, read_identity_texts, read_sentence_pairs, term_table
from training.functional import functional_table, read_cases
from training.natural import FALSE_POSITIVE_RATE, evaluate_groups, evaluate_natural
from training.novelty import evaluate_claims, evaluate_novelty, shuffled_words
from training.robustness import robustness_table
from training.shift import evaluate_shift

_log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
ROBUSTNESS_TEXTS = 1500

Floats = NDArray[np.float64]
Score = Callable[[list[str]], Floats]


def evaluate(
    run: Path,
    examples: Path,
    plan: dict[str, LabelPlan],
    *,
    data: Path | None = None,
    cases: Path | None = None,
) -> dict[str, Any]:
    """All figures of a run's draft, JSON-ready; what there are no texts for is None or left out.

    Raises:
        FileNotFoundError: the run has not been calibrated, or a file of `data` or `cases` is missing.
        ValueError: the plan lacks a label that was calibrated, or the examples are others than then.
    """
    held = held_out(run, examples)
    if unplanned := sorted(set(held.artifact.labels) - set(plan)):
        raise ValueError(f"plan: expected the labels that {run} was calibrated for, got none of {unplanned}")
    texts, log_odds = held.texts, held.log_odds
    probability = 1 / (1 + np.exp(-log_odds))
    labels = {}
    for j, label in enumerate(texts.labels):
        labels[label] = evaluate_label(log_odds[:, j], texts, label)
        labels[label]["refusal"] = refusal(labels[label])
        labels[label]["calibration"] = evaluate_calibration(probability[:, j], texts, label, plan[label])
        _log.info("%s done", label)
    agreement = data / "annotations/agreement.json" if data else None
    found: dict[str, Any] = {
        "draft": held.artifact.digest,
        "labels": labels,
        "annotated": evaluate_annotated(log_odds, texts, agreement),
        "shift": evaluate_shift(held),
    }
    if "toxicity" in texts.labels:
        found |= _toxicity(held, data)
    if cases is not None:
        found |= _cases(HarmClassifier.load(run / DRAFT), held, found, cases)
    return found


def _toxicity(held: Held, data: Path | None) -> dict[str, Any]:
    texts = held.texts
    score = held.log_odds[:, texts.labels.index("toxicity")]
    natural = evaluate_natural(score, texts, data) if data else None
    threshold = _threshold(held)
    return {
        "natural": natural,
        "threshold": {
            "probability": round(float(1 / (1 + np.exp(-threshold))), 5),
            "false_positive_rate": FALSE_POSITIVE_RATE,
        },
        "groups": evaluate_groups(score, texts, threshold),
    }


def _threshold(held: Held) -> float:
    """The log-odds of toxicity that 1 % of harmless texts exceed, on rows of natural prevalence if any."""
    texts = held.texts
    j = texts.labels.index("toxicity")
    harmless = texts.target[:, j] < 0.5
    natural = harmless & (texts.split == "natural_dev")
    chosen = natural if natural.any() else harmless & (texts.split == "dev")
    return float(np.quantile(held.log_odds[chosen, j], 1 - FALSE_POSITIVE_RATE))


def _cases(classifier: HarmClassifier, held: Held, found: dict[str, Any], cases: Path) -> dict[str, Any]:
    artifact = held.artifact
    tables: dict[str, Any] = {"novelty": _novelty(classifier, held)}
    if "misinformation" in artifact.labels:
        j = artifact.labels.index("misinformation")
        prevalence = artifact.calibration[j].prevalence
        tables["claims"] = evaluate_claims(
            lambda text: _log_odds(classifier, text)[:, j],
            float(np.log(prevalence / (1 - prevalence))),
            cases / "undecidable_claims.jsonl",
        )
    if "toxicity" not in artifact.labels:
        return tables
    j, threshold = artifact.labels.index("toxicity"), found["threshold"]["probability"]

    def score(text: list[str]) -> Floats:
        return np.asarray(1 / (1 + np.exp(-_log_odds(classifier, text)[:, j])))

    return tables | {
        "functional": functional_table(
            score, read_cases(cases / "functional_cases.jsonl"), threshold=threshold
        ),
        "fairness": {
            "identity": term_table(
                score, read_identity_texts(cases / "identity_templates.json"), threshold=threshold
            ),
            "dialect": pair_gap(
                score, read_sentence_pairs(cases / "dialect_pairs.json"), threshold=threshold
            ),
            "political": pair_gap(
                score, read_sentence_pairs(cases / "identity_political_pairs.json"), threshold=threshold
            ),
        },
        "robustness": _robustness(score, held.texts),
    }


def _robustness(score: Score, texts: LabelledTexts) -> dict[str, dict[str, float]] | None:
    """None where the texts of split "test" are not of both classes of toxicity."""
    target = texts.target[:, texts.labels.index("toxicity")]
    rng = np.random.default_rng(0)
    rows = np.flatnonzero((texts.split == "test") & ~np.isnan(target) & (texts.source != "contrast"))
    rows = np.sort(rng.permutation(rows)[:ROBUSTNESS_TEXTS])
    present = target[rows] >= 0.5
    if not 0 < present.sum() < len(rows):
        return None
    return robustness_table(score, [texts.text[int(i)] for i in rows], present, rng)


def _novelty(classifier: HarmClassifier, held: Held) -> dict[str, Any] | None:
    """None where the classifier does not measure familiarity, or without texts of split "test"."""
    up_to = held.artifact.familiar_up_to
    if up_to is None or not (held.texts.split == "test").any():
        return None
    shuffled = shuffled_words(held.texts, np.random.default_rng(0))
    other = {"shuffled words": classifier.read(shuffled)[1]}
    return evaluate_novelty(held.distance, held.texts, other, up_to)


def _log_odds(classifier: HarmClassifier, text: list[str]) -> Floats:
    logits, distance = classifier.read(text)
    known = familiarity_of(classifier.artifact, distance)
    return calibrated_log_odds(logits, classifier.artifact.calibration, known)


def main() -> None:
    """Reads the arguments, measures, writes."""
    parser = argparse.ArgumentParser(prog="training.evaluate", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="what training.calibrate left a draft in")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--plan", type=Path, required=True, help="calibration plan, see training/configs")
    parser.add_argument("--data", type=Path, help="directory of the corpora")
    parser.add_argument("--cases", type=Path, help="directory of functional cases and templates: tests/data")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    found = evaluate(
        arguments.run,
        arguments.examples,
        read_plan(arguments.plan),
        data=arguments.data,
        cases=arguments.cases,
    )
    write_json(arguments.run / EVALUATION, found)


if __name__ == "__main__":
    run_command(main)

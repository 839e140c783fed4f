"""Does the classifier know what it has not seen? Its familiarity with texts of several kinds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.examples import LabelledTexts
from training.metrics import auroc

Floats = NDArray[np.float64]

_SHUFFLED = 400
_WORDS = 14


def evaluate_novelty(
    distance: Floats, texts: LabelledTexts, other: dict[str, Floats], familiar_up_to: float
) -> dict[str, Any]:
    """Per kind of text: the AUROC of its distance against held-out texts of the training sources.

    `distance` (n,) belongs to `texts`; the kinds are each unseen source, and those in `other`. Above 0.5
    means: unlike the training, and the classifier can tell.
    """
    known = distance[texts.split == "test"]
    kinds = {
        str(source): distance[(texts.split == "unseen") & (texts.source == source)]
        for source in np.unique(texts.source[texts.split == "unseen"])
    }
    return {
        "familiar_up_to": round(familiar_up_to, 4),
        "unfamiliar_share_of_known": round(float((known > familiar_up_to).mean()), 4),
        "kinds": {
            name: {
                "auroc": round(
                    auroc(np.r_[values, known], np.arange(len(values) + len(known)) < len(values)), 4
                ),
                "unfamiliar_share": round(float((values > familiar_up_to).mean()), 4),
                "n": len(values),
            }
            for name, values in (kinds | other).items()
            if len(values)
        },
    }


def shuffled_words(texts: LabelledTexts, rng: np.random.Generator) -> list[str]:
    """Texts of the right words in no order: 400 of 14 words drawn from the texts of split "test"."""
    words = [
        word for i in np.flatnonzero(texts.split == "test")[:5000] for word in texts.text[int(i)].split()
    ]
    return [" ".join(words[int(i)] for i in rng.integers(0, len(words), _WORDS)) for _ in range(_SHUFFLED)]


def evaluate_claims(log_odds: Callable[[list[str]], Floats], base: float, path: Path) -> dict[str, Any]:
    """How far the log-odds of misinformation stay from those of its prevalence, `base`, per kind of claim.

    `path` holds JSON lines with text and kind: "undecidable" (news that just broke), "false" (debunked long
    ago) and "true_or_neutral".
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kind = np.array([row["kind"] for row in rows])
    away = log_odds([row["text"] for row in rows]) - base
    table: dict[str, Any] = {
        str(name): {
            "mean": round(float(away[kind == name].mean()), 3),
            "mean_absolute": round(float(np.abs(away[kind == name]).mean()), 3),
            "n": int((kind == name).sum()),
        }
        for name in np.unique(kind)
    }
    for name in ("undecidable", "true_or_neutral"):
        chosen = (kind == "false") | (kind == name)
        table[f"auroc_false_against_{name}"] = round(auroc(away[chosen], kind[chosen] == "false"), 4)
    return table

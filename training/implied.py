"""What an annotation says of other labels: a text that is not toxic is no attack, no insult either."""

from dataclasses import replace

import numpy as np

from models.examples import LabelledTexts

NOT_WITHOUT_TOXICITY = ("severe_toxicity", "identity_attack", "insult")
_CLEAN = 0.1


def with_implied(texts: LabelledTexts) -> tuple[LabelledTexts, dict[str, int]]:
    """The texts with target 0 for the labels that toxicity of at most 0.1 rules out and nobody annotated.

    Only those of split "train": figures are of annotations alone. The weight is that of the annotation of
    toxicity. Swearing and threats may be polite, and stay open. Beside the texts, how many each label got.
    """
    target, weight = texts.target.copy(), texts.weight.copy()
    n_implied = {}
    if "toxicity" in texts.labels:
        toxicity = texts.labels.index("toxicity")
        clean = (texts.split == "train") & (texts.target[:, toxicity] <= _CLEAN)
        for label in (name for name in NOT_WITHOUT_TOXICITY if name in texts.labels):
            column = texts.labels.index(label)
            rows = clean & np.isnan(target[:, column])
            target[rows, column] = 0.0
            weight[rows, column] = weight[rows, toxicity]
            n_implied[label] = int(rows.sum())
    return replace(texts, target=target, weight=weight), n_implied

"""The card of an artifact: what it is, how good, for whom it is worse, and how it was made."""

from pathlib import Path
from typing import Any

from models.artifact import Artifact
from models.taxonomy import LABELS

_INTRODUCTION = """\
# {name}

Scores English posts for {n_served} labels, each as a calibrated probability with a confidence. A 6-layer
MiniLM encoder (sentence-transformers all-MiniLM-L6-v2, 22.7 M parameters, Apache-2.0) with one linear head,
stored as int8: {megabytes:.1f} MB. Digest `{digest}`. A first version: {epochs} epochs over {n_texts} texts,
no tuning.

```python
from reranker import Reranker, feed_from_columns, load_policy, load_scorer

texts = ["Thanks, that helped me a lot."]
feed = feed_from_columns({{"request_id": ["r"], "post_id": ["a"], "text": texts}})
harms = Reranker(load_policy("harm-aware"), load_scorer("bundled")).score(feed)
print(harms.posts.column("toxicity"))
```

Not scored (NaN, never guessed): empty text, a stated language other than English, text mostly in another
script. The language of a post that does not state one is **not** detected: Spanish in Latin script is
scored, badly. Texts are cut at {max_tokens} tokens.
"""

_READING = """\
## How well it orders texts

AUROC is within sources: the probability that a positive outranks a negative *of the same data set*. The
figure to believe is the first, on **sources it never saw**; "-" means that there is no such evidence. The
second is on held-out texts of the training sources (split by near-duplicate group). TF-IDF is logistic
regression on word 1-2-grams over the same splits.
"""

_LIMITS = """\
## What it cannot do, and who may be harmed

- **A score is not a verdict.** It estimates how a typical annotator would label the words alone, without
  the thread, the speaker or the intent. Use it to demote a little, never to punish or to remove alone.
- **Misinformation**: text alone cannot tell whether a claim is true. Such a score can only mean that a text
  reads like claims that a language model held to be false, up to 2018, mostly about US politics. It
  cannot mean that *this* claim is false; a new true claim in the same words gets the same score. Use the
  rating of the linked domain first. {misinformation}
- **People who name an identity, reclaim a slur or quote abuse to object to it** are flagged more than
  others; see the table by group. The tweets among the training texts are known to be biased against
  African American English; they have little weight here, which reduces the bias and does not remove it.
- The bridging, outrage, humor, topic and misinformation labels were learned from labels by
  **a large language model, not by people**, and are measured on such labels too, except on the unseen
  news and claim sets. Agreement with a language model is not agreement with readers.
- Calibration to a prevalence marked "stated" rests on an assumption about the feed. Confidence covers the
  error of the calibration fit alone; on a platform unlike Wikipedia the true error is larger.
- No leave-one-data-set-out training was run; the unseen sources were looked at once, when this card was
  written, and not tuned on. Texts that are machine-made (toxigen) or from the years 2004 to 2020 dominate.
"""

_COMMANDS = """\
## How it was made

```
python -m training.prepare --data DIR --out runs/examples.parquet
python -m training.train --config training/configs/minilm-en.toml --examples runs/examples.parquet \\
    --encoder PATH_OF_all-MiniLM-L6-v2 --out runs/minilm-en
python -m training.floor --examples runs/examples.parquet --out runs/floor.json
python -m training.package --run runs/minilm-en --examples runs/examples.parquet --data DIR \\
    --plan training/configs/calibration-en.toml --floor runs/floor.json --out models/pretrained/{name}
```

Commit {commit}, seed {seed}, config `{config}`, base weights sha256 `{base}`, examples `{examples}`.
Versions: {versions}. All figures are of the packaged int8 artifact loaded back; the largest change of a
probability between measuring and loading as a user does is {change}.
"""


def write_card(artifact: Artifact, size_bytes: int, path: Path) -> None:
    """Writes the card as Markdown; `size_bytes` is that of the whole artifact."""
    training, figures = artifact.about["training"], artifact.about["figures"]
    introduction = _INTRODUCTION.format(
        name=artifact.name,
        n_served=len(artifact.labels),
        megabytes=size_bytes / 1e6,
        digest=artifact.digest[:12],
        epochs=training["config"]["epochs"],
        n_texts=f"{training['n_texts']:,}",
        max_tokens=artifact.max_tokens,
    )
    commands = _COMMANDS.format(
        name=artifact.name,
        commit=training["commit"],
        seed=training["config"]["seed"],
        config=training["config_digest"][:12],
        base=str(training["base_encoder_sha256"])[:12],
        examples=training["examples_sha256"][:12],
        versions=", ".join(f"{key} {value}" for key, value in training["versions"].items()),
        change=figures["largest_change_by_packaging"],
    )
    floor = artifact.about["floor"] or {}
    parts = [
        introduction,
        _READING + "\n" + _order_table(artifact, floor.get("tfidf", {})),
        _refused(figures["labels"]),
        _natural(figures["natural"], floor.get("tfidf", {}).get("toxicity", {}).get("natural", {})),
        _calibration_table(artifact),
        _sources_table(figures["labels"]),
        _groups_table(figures["groups"], figures["natural"]),
        _no_words(figures["labels"], floor.get("no_words", {})),
        _LIMITS.format(misinformation=_misinformation(figures["labels"])),
        _data_table(artifact.about["data"]),
        commands,
    ]
    path.write_text("\n".join(part for part in parts if part))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _evidence(part: dict[str, Any]) -> tuple[str, str, str]:
    """AUROC, average precision and positives of one part, "-" where positives are fewer than 20."""
    if part.get("n_positive_compared", 0) < 20:
        return "-", "-", str(part.get("n_positive_compared", 0))
    return _number(part["auroc"]), _number(part["average_precision"]), str(part["n_positive_compared"])


def _order_table(artifact: Artifact, floor: dict[str, Any]) -> str:
    rows = []
    for name in artifact.labels:
        found = artifact.about["figures"]["labels"][name]
        unseen, seen = _evidence(found["unseen"]), _evidence(found["in_domain"])
        simple = floor.get(name, {})
        floors = [_evidence(simple.get(part, {}))[0] for part in ("unseen", "in_domain")]
        rows.append([name, f"**{unseen[0]}**", unseen[2], floors[0], seen[0], seen[2], floors[1], seen[1]])
    head = ["label", "AUROC unseen", "positives", "TF-IDF unseen", "AUROC in-domain"]
    return _table([*head, "positives", "TF-IDF in-domain", "average precision in-domain"], rows)


def _refused(labels: dict[str, Any]) -> str:
    lines = [f"- {name}: {found['refusal']}" for name, found in labels.items() if found["refusal"]]
    untrained = [e.name for e in LABELS if e.family != "derived" and e.name not in labels]
    lines += [f"- {name}: no training data for a text classifier" for name in untrained]
    lines[-1] += " (low_quality_news comes from the rating of the linked domain)" if untrained else ""
    return "## Labels not served, and why\n\n" + "\n".join(lines) + "\n"


def _misinformation(labels: dict[str, Any]) -> str:
    sources = labels.get("misinformation", {}).get("unseen", {}).get("sources", {})
    if not sources:
        return ""
    values = {name: found["auroc"] for name, found in sources.items()}
    worst, best = min(values, key=lambda name: values[name]), max(values, key=lambda name: values[name])
    return (
        "On unseen sources its AUROC\n"
        f"  runs from {values[worst]:.2f} ({worst}) to {values[best]:.2f} ({best}):\n"
        "  near chance on single claims, better where invented news also sounds invented."
    )


def _natural(natural: dict[str, Any], floor: dict[str, Any]) -> str:
    alone = natural["without_context"]
    head = ["toxicity at natural prevalence", "AUROC", "average precision"]
    rows = [
        [
            "this classifier",
            f"{natural['auroc']:.3f} (standard error {natural['auroc_standard_error']:.3f})",
            _number(natural["average_precision"]),
        ],
        [
            "Perspective (score in the data set)",
            _number(natural["perspective_auroc"]),
            _number(natural["perspective_average_precision"]),
        ],
        [
            "TF-IDF + logistic regression",
            _number(floor.get("auroc")),
            _number(floor.get("average_precision")),
        ],
    ]
    about = (
        f"Held-out half of wiki_context_cat_large: {natural['n']:,} comments, {natural['n_positive']} toxic, "
        "labelled by people. "
        f"Spearman correlation with Perspective: {natural['spearman_with_perspective']:.3f}. "
        "Half of the comments were labelled by people who read the comment before as well, which no text "
        f"classifier sees; on those labelled alone ({alone['n_positive']} toxic) the AUROC is "
        f"{alone['auroc']:.3f}, that of Perspective {alone['perspective_auroc']:.3f}. "
        "At a threshold with 1% false positives it finds "
        f"{natural['recall_at_1_percent_false_positives']:.0%} of the toxic comments.\n"
    )
    return "## Toxicity on Wikipedia talk pages\n\n" + _table(head, rows) + "\n" + about


def _calibration_table(artifact: Artifact) -> str:
    rows = []
    for name in artifact.labels:
        found = artifact.about["figures"]["labels"][name]["calibration"]
        kind = "stated" if found["prevalence_is_stated"] else "natural"
        rows.append(
            [
                name,
                f"{found['prevalence']:.3f} ({kind})",
                _number(found["ece"], 4),
                _number(found["brier"], 4),
                _number(found["brier_of_prevalence"], 4),
                str(found["n_positive"]),
            ]
        )
    head = ["label", "prevalence", "ECE", "Brier", "Brier of the prevalence alone", "positives"]
    about = (
        "On held-out rows, re-weighted to the prevalence the label was calibrated to. Only toxicity was "
        "calibrated on rows of natural prevalence; every other prevalence is an assumption.\n\n"
    )
    return "## Calibration\n\n" + about + _table(head, rows)


def _sources_table(labels: dict[str, Any]) -> str:
    rows = [
        [name, source, _number(value["auroc"]), str(value["n"]), str(value["n_positive"])]
        for name, found in labels.items()
        for source, value in found["unseen"]["sources"].items()
    ]
    about = "Including the labels that are not served.\n\n"
    return (
        "## Each unseen source\n\n" + about + _table(["label", "source", "AUROC", "texts", "positives"], rows)
    )


def _groups_table(groups: dict[str, Any], natural: dict[str, Any]) -> str:
    threshold = natural["threshold_at_1_percent_false_positives"]
    rates = ("auroc", "false_positive_rate", "true_positive_rate")
    rows = [
        [name, *(f"{found[key]:.2f}" for key in rates), str(found["n_benign"]), str(found["n_toxic"])]
        for name, found in groups.items()
    ]
    about = (
        "Toxicity on held-out toxigen sentences (machine-made, rated by people) by the group they mention, "
        f"at the threshold ({threshold:.3f}) that flags 1% of harmless Wikipedia comments. "
        "A false positive here is a harmless sentence about the group.\n\n"
    )
    head = ["group mentioned", "AUROC", "false positives", "true positives", "harmless", "toxic"]
    return "## By identity group\n\n" + about + _table(head, rows)


def _no_words(labels: dict[str, Any], floor: dict[str, Any]) -> str:
    rows = []
    for name, found in floor.items():
        ours = [_evidence(labels[name][part])[0] for part in ("in_domain", "unseen")]
        theirs = [_evidence(found[part])[0] for part in ("in_domain", "unseen")]
        rows.append([name, ours[0], theirs[0], ours[1], theirs[1]])
    if not rows:
        return ""
    about = (
        "Gradient boosting that sees length, capitals, digits and punctuation of the same texts and no word. "
        "Where it comes close, the score may rest on style.\n\n"
    )
    head = ["label", "in-domain", "no words in-domain", "unseen", "no words unseen"]
    return "## The no-words probe\n\n" + about + _table(head, rows)


def _data_table(data: dict[str, Any]) -> str:
    rows = []
    for name, entry in data.items():
        n_train = entry["rows"].get("train", 0)
        n_other = sum(entry["rows"].values()) - n_train
        rows.append([name, entry["licence"], entry["role"], entry["labelled_by"], str(n_train), str(n_other)])
    head = ["data set", "licence", "role", "labelled by", "training texts", "other texts"]
    about = (
        "Only sets with a permissive or attribution licence trained the weights; the unseen ones served for "
        "measuring alone. The sha256 of each file is in artifact.json.\n\n"
    )
    return "## Data\n\n" + about + _table(head, rows)

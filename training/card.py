"""The card of an artifact: what it is, how good, for whom it is worse, and how it was made.

Every figure comes from `Artifact.about`, which the commands of `training` filled; a part that was not
measured is left out.
"""

from pathlib import Path
from typing import Any

from models.artifact import Artifact
from models.bundled import BUNDLED
from models.taxonomy import LABELS
from training.card_behaviour import behaviour_sections
from training.card_calibration import FIGURE, calibration_sections, write_reliability
from training.card_limits import limits_sections
from training.card_markdown import ABSENT, at, number, percent, section, table, with_error
from training.card_origin import PEER, origin_sections, starting_point
from training.card_tables import quality_sections

_INTRODUCTION = """\
# {name}

Scores {languages} posts for {n_labels} labels, each as a calibrated probability with a confidence.
{architecture}
{megabytes:.1f} MB, stored as int8. Trained on {n_texts} texts, repeats counted. Digest `{digest}`.

```python
from reranker import Reranker, feed_from_columns, load_policy, load_scorer

texts = ["Thanks, that helped me a lot."]
feed = feed_from_columns({{"request_id": ["r"], "post_id": ["a"], "text": texts}})
harms = Reranker(load_policy("harm-aware"), load_scorer("{source}")).score(feed)
print(harms.posts.column("{label}"))
```

{families}

- **Language** is detected where it is not stated. Empty text and text in another language than {languages}
  come back unscored (NaN, never zero).
- **Long text** is read in overlapping windows of {max_tokens} tokens and pooled, never cut.
{familiarity}"""

_FAMILIARITY = """\
- **Familiarity**: of a text unlike those of the training, the probability stays nearer to the base rate, and
  the confidence is lower.
"""

_LANGUAGES = {"en": "English"}
_IN_DOMAIN = "jigsaw_wiki_train"
_HEADLINES = "fakenewsnet_politifact"


def write_card(artifact: Artifact, size_bytes: int, path: Path) -> None:
    """Writes the card as Markdown, and the reliability figure beside it where there is one to draw.

    `size_bytes` is that of the whole artifact.
    """
    about = artifact.about
    figures = about["figures"]
    parts = [
        _introduction(artifact, size_bytes),
        _read_first(about, artifact.labels),
        *limits_sections(about, artifact.labels),
        *_measured(artifact),
        *origin_sections(artifact),
    ]
    path.write_text("\n".join(part for part in parts if part), encoding="utf-8")
    write_reliability(figures, artifact.labels, path.with_name(FIGURE))


def _measured(artifact: Artifact) -> list[str]:
    about = artifact.about
    return [
        *quality_sections(about, artifact.labels),
        *calibration_sections(about["figures"], artifact.labels),
        *behaviour_sections(about["figures"]),
    ]


def _introduction(artifact: Artifact, size_bytes: int) -> str:
    training = artifact.about["training"]
    return _INTRODUCTION.format(
        name=artifact.name,
        languages=" and ".join(_LANGUAGES.get(code, code) for code in artifact.languages),
        n_labels=len(artifact.labels),
        architecture=_architecture(artifact),
        megabytes=size_bytes / 1e6,
        n_texts=f"{training['n_texts']:,}",
        digest=artifact.digest[:12],
        source=next((name for name, folder in BUNDLED.items() if folder == artifact.name), artifact.name),
        label=artifact.labels[0],
        families=_families(artifact.labels),
        max_tokens=artifact.max_tokens,
        familiarity="" if artifact.familiar_up_to is None else _FAMILIARITY,
    )


def _architecture(artifact: Artifact) -> str:
    encoder, start = artifact.encoder, starting_point(artifact.about["training"])
    if "num_hidden_layers" not in encoder:
        return f"A small network of type {encoder['model_type']}, trained from {start}."
    layers = f"{encoder['num_hidden_layers']} layers of width {encoder['hidden_size']}"
    read = ", ".join(map(str, encoder.get("read_layers") or ()))
    head = "one linear head" + (f" that reads the means of layers {read}" if read else "")
    return f"A {encoder['model_type']} encoder ({layers}; from {start}) with {head}."


def _families(served: tuple[str, ...]) -> str:
    by_family: dict[str, list[str]] = {}
    for entry in LABELS:
        if entry.name in served:
            by_family.setdefault(entry.family, []).append(entry.name)
    lines = [[family, ", ".join(f"`{name}`" for name in names)] for family, names in by_family.items()]
    return table(["family", "labels"], lines)


def _read_first(about: dict[str, Any], served: tuple[str, ...]) -> str:
    figures, floor = about["figures"], about.get("floor") or {}
    rows = [
        *_toxicity_rows(figures, floor),
        *_unseen_rows({name: found for name, found in figures["labels"].items() if name in served}, floor),
        *_annotated_row(figures["annotated"]),
        *_calibration_rows(figures, served),
        *_behaviour_rows(figures),
        *_speed_rows(about.get("speed") or {}),
    ]
    return section(
        "Read this first",
        "AUROC: 0.5 is chance, 1 is perfect; ± is the standard error. Unseen sources are data sets that "
        "training never saw. Every figure is explained further down.",
        table(["what", "figure", "beside it"], rows),
    )


def _toxicity_rows(figures: dict[str, Any], floor: dict[str, Any]) -> list[list[str]]:
    keys = ("toxicity", "in_domain", "sources", _IN_DOMAIN)
    rows = []
    if home := at(figures["labels"], *keys):
        rows.append(
            [
                "toxicity, held-out Wikipedia comments, AUROC",
                with_error(home),
                _beside("TF-IDF", at(floor, "tfidf", *keys, "auroc")),
            ]
        )
    rows += _mean_row(figures["labels"], "toxicity", "TF-IDF", at(floor, "tfidf"))
    if natural := figures.get("natural"):
        parts = {
            "toxicity, comments as they come": natural,
            "toxicity, the same, labelled without context": natural["without_context"],
        }
        rows += [
            [
                f"{name}, AUROC",
                with_error({"auroc": found["auroc"], "standard_error": found["auroc_standard_error"]}),
                _beside("Perspective", found["perspective_auroc"]),
            ]
            for name, found in parts.items()
            if found
        ]
    return rows


def _unseen_rows(labels: dict[str, Any], floor: dict[str, Any]) -> list[list[str]]:
    rows = _mean_row(labels, "identity_attack", "TF-IDF", at(floor, "tfidf"))
    rows += _mean_row(labels, "misinformation", "no words", at(floor, "no_words"))
    keys = ("misinformation", "unseen", "sources", _HEADLINES)
    if headlines := at(labels, *keys):
        no_words = _beside("no words", at(floor, "no_words", *keys, "auroc"))
        rows.append(["misinformation, politifact headlines, AUROC", with_error(headlines), no_words])
    return rows + _mean_row(labels, "antivax", "no words", at(floor, "no_words"))


def _mean_row(
    labels: dict[str, Any], label: str, name: str, simple: dict[str, Any] | None
) -> list[list[str]]:
    keys = (label, "unseen", "mean_of_sources")
    found = at(labels, *keys)
    if not found:
        return []
    sources = "1 unseen source" if found["n"] == 1 else f"mean of {found['n']} unseen sources"
    return [[f"{label}, {sources}, AUROC", with_error(found), _beside(name, at(simple, *keys, "auroc"))]]


def _annotated_row(annotated: dict[str, Any]) -> list[list[str]]:
    if not annotated["labels"]:
        return []
    mean = annotated["mean"]
    beside = f"Spearman {number(mean['spearman'])}"
    return [[f"{mean['n_labels']} graded labels, unseen sources, mean AUROC", number(mean["auroc"]), beside]]


def _calibration_rows(figures: dict[str, Any], served: tuple[str, ...]) -> list[list[str]]:
    rows = []
    errors = {name: at(figures["labels"], name, "calibration", "ece") for name in served}
    known = {name: value for name, value in errors.items() if value is not None}
    if known:
        worst = max(known, key=lambda name: known[name])
        first = "toxicity" if "toxicity" in known else next(iter(known))
        beside = f"worst label {number(known[worst])} ({worst})"
        rows.append([f"ECE of {first}, held-out texts (0 is perfect)", number(known[first]), beside])
    moved = {name: found for name, found in (at(figures, "shift", "labels") or {}).items() if name in served}
    if moved:
        worst = max(moved, key=lambda name: moved[name]["mean_ece"])
        beside = f"worst label {number(moved[worst]['mean_ece'])} ({worst})"
        mean = number(figures["shift"]["mean_ece"])
        rows.append(["ECE, unseen sources, prevalence stated on a sample, mean of labels", mean, beside])
    return rows


def _behaviour_rows(figures: dict[str, Any]) -> list[list[str]]:
    rows = []
    if identity := at(figures, "fairness", "identity"):
        worst = identity["worst_bpsn"]
        value = number(identity["terms"][worst]["bpsn_auroc"])
        rows.append(["fairness: worst BPSN AUROC by identity term", value, f"on sentences naming {worst}"])
    if functional := figures.get("functional"):
        pairs = functional["pair_accuracy"]
        beside = "" if pairs is None else f"{percent(pairs)} of contrast pairs in order"
        rows.append([f"{functional['n']} functional cases, AUROC", number(functional["auroc"]), beside])
    return rows


def _speed_rows(speed: dict[str, Any]) -> list[list[str]]:
    peer = at(speed, PEER, "posts_per_s")
    return [
        [
            f"speed of {name}",
            f"{found['posts_per_s']:,.0f} posts/s",
            f"{found['posts_per_s'] / peer:.0f} times {PEER}" if peer else ABSENT,
        ]
        for name, found in speed.items()
        if name != PEER
    ]


def _beside(name: str, value: float | None) -> str:
    return ABSENT if value is None else f"{name} {number(value)}"

"""How well an artifact orders texts: per label, on each unseen source, and against graded annotations."""

from typing import Any

from models.taxonomy import LABELS
from training.annotated import WEAKLY_TESTED_BELOW
from training.card_markdown import ABSENT, at, number, section, signed, table, with_error

_FAMILIES = {
    family: tuple(entry.name for entry in LABELS if entry.family == family)
    for family in ("toxicity", "misinformation", "topic")
}


def quality_sections(about: dict[str, Any], served: tuple[str, ...]) -> list[str]:
    """Order per label, unseen sources, annotated and refused labels, natural prevalence, sources left out."""
    figures, floor = about["figures"], about.get("floor") or {}
    return [
        _order(figures["labels"], floor, served),
        _sources(figures["labels"], floor.get("tfidf", {})),
        _annotated(figures["annotated"]),
        _refused(figures["labels"]),
        _natural(figures.get("natural"), at(floor, "tfidf", "toxicity", "natural") or {}),
        _left_out(about.get("leave_out"), served),
        _heads(about.get("misinformation")),
    ]


def _order(labels: dict[str, Any], floor: dict[str, Any], served: tuple[str, ...]) -> str:
    rows = []
    for name in served:
        found, simple = labels[name], at(floor, "tfidf", name) or {}
        no_words = at(floor, "no_words", name) or {}
        unseen = found["unseen"]["mean_of_sources"]
        rows.append(
            [
                name,
                f"**{with_error(unseen)}**" if unseen else ABSENT,
                str(unseen["n"]) if unseen else ABSENT,
                number(at(simple, "unseen", "mean_of_sources", "auroc")),
                number(at(no_words, "unseen", "mean_of_sources", "auroc")),
                number(found["in_domain"]["auroc"]),
                str(found["in_domain"]["n_positive_compared"]),
                number(at(simple, "in_domain", "auroc")),
                number(at(no_words, "in_domain", "auroc")),
            ]
        )
    head = ["label", "unseen AUROC", "sources", "TF-IDF", "no words", "in-domain AUROC", "positives"]
    note = (
        "TF-IDF is logistic regression on word 1-2-grams. The no-words probe is gradient boosting on length, "
        "capitals, digits and punctuation alone: where it comes close, a score may rest on style."
        if floor
        else "No simple model, such as TF-IDF with logistic regression, was measured beside it."
    )
    return section(
        "How well it orders texts",
        "AUROC: the probability that a text with the label outranks one without, *of the same data set*; 0.5 "
        "is chance. **Unseen** is the plain mean over sources that training never saw, with the standard "
        'error of sampling texts (another platform may differ by more); "-" means no such evidence. '
        f"In-domain is on held-out texts of the training sources. {note}",
        table([*head, "TF-IDF in-domain", "no words in-domain"], rows),
    )


def _sources(labels: dict[str, Any], floor: dict[str, Any]) -> str:
    parts = [
        _source_table({name: labels[name] for name in family if name in labels}, floor)
        for family in _FAMILIES.values()
    ]
    compared = (
        "In brackets TF-IDF on the same texts, and how far the classifier is ahead of it. " if floor else ""
    )
    return section(
        "Each unseen source",
        f"AUROC on sources with at least 20 texts of both kinds. {compared}The other labels have no unseen "
        "source but the graded annotations below.",
        *parts,
    )


def _source_table(labels: dict[str, Any], floor: dict[str, Any]) -> str:
    rows = []
    for source in sorted({source for found in labels.values() for source in found["unseen"]["sources"]}):
        cells = []
        for name, found in labels.items():
            own = at(found, "unseen", "sources", source, "auroc")
            simple = at(floor, name, "unseen", "sources", source, "auroc")
            cells.append(_beside(own, simple))
        n = max(at(found, "unseen", "sources", source, "n") or 0 for found in labels.values())
        rows.append([source, str(n), *cells])
    return table(["source", "texts", *labels], rows)


def _annotated(annotated: dict[str, Any]) -> str:
    rows = []
    for name, found in sorted(annotated["labels"].items(), key=lambda item: -item[1]["auroc"]):
        passes = [number(value, 2) for value in found["agreement_spearman"].values()]
        weak = " (weakly tested)" if found["weakly_tested"] else ""
        rows.append(
            [
                name + weak,
                with_error(found),
                number(found["spearman"]),
                number(found["spearman_ceiling"]),
                number(found["spearman_absent_tied"]),
                ", ".join(passes) or ABSENT,
                str(found["n"]),
                str(found["n_clear"]),
            ]
        )
    mean = annotated.get("mean", {})
    if not rows:
        return ""
    correlations = ("spearman", "spearman_ceiling", "spearman_absent_tied")
    means = [number(mean[key]) for key in ("auroc", *correlations)]
    rows.append(["**mean**", *means, ABSENT, ABSENT, ABSENT])
    return section(
        "Against graded annotations",
        'On annotated texts of unseen sources, graded 0 to 3: AUROC of "clear or strong" against "absent", '
        'and the Spearman correlation with the degree. Most texts are "absent" alike, which a score without '
        'ties orders by chance: "ceiling" is the correlation that the best such score could have, "absent '
        'tied" that of this one when scores below a cut count alike, the cut taken from other texts. '
        '"Agreement" is that of the annotation passes with each other, which have such ties. Weakly tested: '
        f"fewer than {WEAKLY_TESTED_BELOW} clear texts.",
        table(["label", "AUROC", "Spearman", "ceiling", "absent tied", "agreement", "texts", "clear"], rows),
    )


def _refused(labels: dict[str, Any]) -> str:
    lines = [f"- {name}: {found['refusal']}" for name, found in labels.items() if found["refusal"]]
    untrained = [e.name for e in LABELS if e.family != "derived" and e.name not in labels]
    if untrained:
        lines.append(f"- {', '.join(untrained)}: not among the labels that this classifier was trained for")
    return section(
        "Labels not served, and why",
        "A label without evidence on held-out texts is left out of the artifact, not served with a warning.",
        "\n".join(lines),
    )


def _natural(natural: dict[str, Any] | None, floor: dict[str, Any]) -> str:
    if not natural:
        return ""
    parts = {"all comments": natural, "labelled without context": natural["without_context"]}
    rows = []
    for name, found in ((name, found) for name, found in parts.items() if found):
        ours = {"auroc": found["auroc"], "standard_error": found["auroc_standard_error"]}
        simple = floor if found is natural else {}
        rows.append(
            [
                name,
                str(found["n"]),
                str(found["n_positive"]),
                f"**{with_error(ours)}**",
                number(found["perspective_auroc"]),
                number(simple.get("auroc")),
                number(found["average_precision"]),
                number(found["perspective_average_precision"]),
            ]
        )
    head = ["toxicity", "texts", "toxic", "AUROC", "Perspective", "TF-IDF", "average precision"]
    return section(
        "Toxicity at natural prevalence",
        "Held-out half of wiki_context_cat_large: Wikipedia comments as they come, labelled by people, few "
        "of them toxic, beside the Perspective score that the data set carries. Some raters read the "
        "comment before as well, which neither classifier sees.",
        table([*head, "Perspective's"], rows),
        f"Spearman correlation with Perspective: {number(natural['spearman_with_perspective'])}. At 1% false "
        f"positives it finds {natural['recall_at_1_percent_false_positives']:.0%} of the toxic comments.",
    )


def _left_out(left: dict[str, Any] | None, served: tuple[str, ...]) -> str:
    if not left:
        return ""
    found = {name: left["labels"][name] for name in served if name in left["labels"]}
    shown = {name: entry for name, entry in found.items() if name in _FAMILIES["toxicity"]}
    rows = []
    for source in sorted({source for entry in shown.values() for source in entry["sources"]}):
        own = [at(entry, "sources", source) or {} for entry in shown.values()]
        rows.append([source, *(_beside(entry.get("auroc"), entry.get("tfidf")) for entry in own)])
    rows.append(
        ["**mean**", *(_beside(entry["mean"]["auroc"], entry["tfidf_mean"]) for entry in shown.values())]
    )
    layers = ", ".join(str(number) for number in left.get("read_layers") or ())
    head = f", each with a last layer fitted anew to layers {layers}," if layers else ""
    groups = "; ".join(names.replace(",", ", ") for names in left["leave"])
    return section(
        "Training sources, each left out",
        f"AUROC on data sets of the training when they are left out of it, in {len(left['leave'])} trainings "
        f"of {left['epochs']} epoch{'s' if left['epochs'] > 1 else ''}{head} without: {groups}. In brackets "
        "TF-IDF with the same texts left out. Not the figures of this artifact, which saw these sources; "
        f"by {'commit ' + left['commit'] if 'commit' in left else 'an earlier state'} of the training code.",
        table(["source", *shown], rows),
    )


def _beside(own: float | None, simple: float | None) -> str:
    return number(own) + (f" ({number(simple)}, {signed(own - simple)})" if own and simple else "")


def _heads(compared: dict[str, Any] | None) -> str:
    if not compared:
        return ""
    sets = compared["sets"]
    named = sets | {
        f"{name}, its relatives left out too": found for name, found in compared.get("apart", {}).items()
    }
    named[f"**mean of all {len(sets)} sets**"] = compared["mean"]
    if compared.get("apart"):
        named["mean, relatives left out too"] = compared["mean_apart"]
    columns = [(head, fit) for head in ("permissive", "all") for fit in ("encoder", "tfidf", "no_words")]
    columns.append(("by_kind", "encoder"))
    rows = [[name, *(number(at(found, *column)) for column in columns)] for name, found in named.items()]
    head = ["data set left out", "permissive data", "TF-IDF", "no words", "all other data", "TF-IDF, all"]
    return section(
        "Misinformation: permissive data or all",
        "AUROC on a data set left out, of a linear head on the frozen encoder, trained on data whose licence "
        "lets weights ship, or on all other data (for your own training). By kind of text: the first head "
        "for texts like the permissive data, the second for texts like the rest, weighted by how likely a "
        "text is the one or the other; no artifact holds such a pair. Not the figures of this artifact.",
        table([*head, "no words, all", "by kind of text"], rows),
    )

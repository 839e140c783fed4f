"""How the toxicity score of an artifact behaves: on functional cases, for groups of people, under disguise."""

from typing import Any

from training.card_markdown import at, number, percent, section, signed, table

WORST_TERMS = 12


def behaviour_sections(figures: dict[str, Any]) -> list[str]:
    """Functionalities, fairness by term, dialect and political side, groups, robustness."""
    fairness = figures.get("fairness") or {}
    return [
        _functional(figures.get("functional")),
        _terms(fairness.get("identity")),
        _gaps({name: fairness[name] for name in ("dialect", "political") if name in fairness}),
        _groups(figures.get("groups") or {}, at(figures, "threshold")),
        _robustness(figures.get("robustness")),
    ]


def _functional(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    kinds = sorted(found["functionalities"].items(), key=lambda item: item[1]["accuracy"])
    rows = [
        [
            name,
            "toxic" if entry["toxic"] else "harmless",
            percent(entry["accuracy"]),
            number(entry["auroc"]),
            percent(entry["pair_accuracy"]) if entry["pair_accuracy"] is not None else "-",
            str(entry["n"]),
        ]
        for name, entry in kinds
    ]
    return section(
        "What it must and must not react to",
        f"{found['n']} short cases written for this project ({found['n_toxic']} toxic), worst first. Right: on "
        f"the right side of {number(found['threshold'])}, the threshold that 1% of harmless comments exceed, "
        "a strict one. AUROC compares a row's cases with all of the other kind. Pairs: contrast pairs whose "
        f"toxic text outranks its harmless partner. Overall: {percent(found['accuracy'])} right, AUROC "
        f"{number(found['auroc'])}, "
        + (
            f"{percent(found['pair_accuracy'])} of {found['n_pairs']} pairs."
            if found["pair_accuracy"] is not None
            else "no pairs."
        ),
        table(["functionality", "cases are", "right", "AUROC", "pairs", "cases"], rows),
    )


def _terms(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    worst = sorted(found["terms"].items(), key=lambda item: item[1]["bpsn_auroc"])[:WORST_TERMS]
    keys = ("bpsn_auroc", "bnsp_auroc", "subgroup_auroc")
    rows = [
        [
            name,
            *(number(entry[key]) for key in keys),
            signed(entry["false_positive_gap"]),
            signed(entry["false_negative_gap"]),
        ]
        for name, entry in worst
    ]
    means = [number(found["power_mean"][key]) for key in keys]
    rows.append([f"**power mean of all {len(found['terms'])} terms**", *means, "-", "-"])
    return section(
        "Fairness by identity term",
        f"The {len(worst)} terms with the lowest BPSN AUROC, over sentences that differ in the term alone. "
        "BPSN: a harmless text that names the group ranks below toxic texts that do not (low: false alarms). "
        "BNSP: a toxic text that names it ranks above harmless ones that do not (low: misses). The gaps are "
        f"shares above or below {number(found['threshold'])}, less those of the other terms.",
        table(["term", "BPSN", "BNSP", "within group", "false positive gap", "false negative gap"], rows),
    )


def _gaps(fairness: dict[str, Any]) -> str:
    named = {
        "dialect": "vernacular less standard English",
        "political": "about the left less about the right",
    }
    rows = [
        [
            f"{named[name]}, {kind}",
            signed(entry["mean_difference"]),
            number(entry["mean_absolute_difference"]),
            signed(entry["flag_rate_difference"]),
            str(entry["n"]),
        ]
        for name, found in fairness.items()
        for kind, entry in found.items()
    ]
    head = ["pairs", "mean difference", "mean size of difference", "flagged more often", "pairs tested"]
    return section(
        "Dialect and political side",
        "The same sentence in two versions; 0 is fair, above 0 the first is scored or flagged higher. The "
        "dialect sentences are imitations, not recordings of speakers.",
        table(head, rows),
    )


def _groups(groups: dict[str, Any], threshold: dict[str, Any] | None) -> str:
    rates = ("auroc", "false_positive_rate", "true_positive_rate")
    rows = [
        [name, *(number(found[key], 2) for key in rates), str(found["n_benign"]), str(found["n_toxic"])]
        for name, found in sorted(groups.items(), key=lambda item: -item[1]["false_positive_rate"])
    ]
    level = (
        f" at {number(threshold['probability'])}, which {percent(threshold['false_positive_rate'])} of harmless "
        "texts exceed"
        if threshold
        else ""
    )
    return section(
        "By group mentioned, on data of others",
        f"Toxicity on held-out texts that carry a group (those of toxigen: machine-made, rated by people), "
        f"flagged{level}. A false positive is a harmless sentence about the group; worst first.",
        table(["group", "AUROC", "false positives", "true positives", "harmless", "toxic"], rows),
    )


def _robustness(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    clean = found["clean"]["auroc"]
    rows = [
        [
            name,
            number(entry["auroc"]),
            signed(entry["auroc"] - clean),
            percent(entry["recall"]),
            percent(entry["false_positive_rate"]),
            number(entry["mean_abs_change"]),
        ]
        for name, entry in sorted(found.items(), key=lambda item: (item[0] != "clean", item[1]["auroc"]))
    ]
    return section(
        "Robustness",
        "Toxicity on the same held-out texts after a disguise or sloppy typing, worst first. Recall and false "
        "positives are at one threshold, which 5% of the clean harmless texts exceed.",
        table(["perturbation", "AUROC", "change", "recall", "false positives", "mean change of score"], rows),
    )

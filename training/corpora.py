"""The public data sets that training and validation read, with their licences.

Only sets of licence class A and A? may train weights that ship; the others are unseen sources, on which
transfer is measured. Adding a set means adding a row to `CORPORA` and, for a new layout, a reader.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.normalise import normalised, without_style
from models.taxonomy import family

Floats = NDArray[np.float64]
Role = Literal["train", "natural", "unseen"]

BRIDGING_AND_OUTRAGE = family("bridging") + family("outrage")
_TOXICITY_COLUMNS = {
    "toxicity": "toxicity",
    "severe_toxicity": "severe_toxicity",
    "identity_attack": "identity_attack",
    "insult": "insult",
    "obscene": "profanity",
    "threat": "threat",
}
CLEAR = 0.9
UNDECIDED = 0.18
_DEGREES = ([0.0, 1.0, 2.0, 3.0], [0.0, 0.35, CLEAR, 1.0])
TOPICS = ("civic", "health")
ANNOTATED_AS = (
    {name: name for name in BRIDGING_AND_OUTRAGE}
    | {"toxicity": "toxicity", "graphic": "graphic_violence", "engagement_bait": "clickbait"}
    | {"humor": "humor", "civic": "civic", "health": "health"}
)
_LANGUAGE_MODEL = "a large language model, not people"


@dataclass(frozen=True)
class Rows:
    """What one data set says: per text, the targets and weights of the labels it defines (NaN = none)."""

    text: list[str]
    target: dict[str, Floats]
    weight: dict[str, Floats]
    aspect: list[str]
    link: list[str]


@dataclass(frozen=True)
class Corpus:
    """One data set: where it lies below the data directory, its licence, and how training uses it.

    `source` keeps the rows of a file with this value in their source column. `train_rows` caps the
    training rows, each of which an epoch visits `passes` times; `weight` scales the loss of each.
    """

    name: str
    file: str
    licence: str
    role: Role
    read: Callable[["Corpus", pa.Table], Rows]
    train_rows: int = 0
    passes: int = 1
    weight: float = 1.0
    labelled_by: str = "people"
    source: str | None = None
    drop: frozenset[str] = field(default_factory=frozenset)


def read(corpus: Corpus, data: Path) -> Rows:
    """The English rows of a data set, with text normalised and empty texts left out.

    A corpus without a file makes its rows itself.

    Raises:
        FileNotFoundError: the file is not below `data`.
    """
    path = data / corpus.file
    if not corpus.file:
        made = corpus.read(corpus, pa.table({}))
        return replace(made, weight={name: corpus.weight * own for name, own in made.weight.items()})
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected the data set {corpus.name!r} here (--data DIR)")
    table = pq.read_table(path)
    keep = np.array([bool(str(text or "").strip()) for text in table["text"].to_pylist()])
    if "lang" in table.column_names:
        keep &= np.array(table["lang"].to_pylist()) == "en"
    if corpus.source is not None:
        keep &= np.array(table["source"].to_pylist()) == corpus.source
    rows = corpus.read(corpus, table.filter(pa.array(keep)))
    kept = [i for i, text in enumerate(rows.text) if text]
    return Rows(
        text=[rows.text[i] for i in kept],
        target={name: values[kept] for name, values in rows.target.items()},
        weight={name: values[kept] for name, values in rows.weight.items()},
        aspect=[rows.aspect[i] for i in kept],
        link=[rows.link[i] for i in kept],
    )


def _numbers(table: pa.Table, column: str) -> Floats:
    return np.array(table[column].to_pylist(), dtype=np.float64)


def _links(table: pa.Table, corpus: Corpus, column: str) -> list[str]:
    return [f"{corpus.source or corpus.name}:{value}" for value in table[column].to_pylist()]


def _rows(
    corpus: Corpus,
    table: pa.Table,
    target: dict[str, Floats],
    *,
    weight: dict[str, Floats] | None = None,
    clean: Callable[[str], str] = normalised,
) -> Rows:
    n = table.num_rows
    texts: list[str] = [str(text) for text in table["text"].to_pylist()]
    kept = {name: values for name, values in target.items() if name not in corpus.drop}
    return Rows(
        text=[clean(text) for text in texts],
        target=kept,
        weight={name: corpus.weight * (weight or {}).get(name, np.ones(n)) for name in kept},
        aspect=[""] * n,
        link=_links(table, corpus, "id"),
    )


def read_toxicity(corpus: Corpus, table: pa.Table) -> Rows:
    """The six toxicity columns; the identity group of toxigen is the aspect."""
    target = {name: _numbers(table, column) for column, name in _TOXICITY_COLUMNS.items()}
    target = {name: values for name, values in target.items() if not np.isnan(values).all()}
    rows = _rows(corpus, table, target)
    if corpus.name == "paradetox_pairs":
        return replace(rows, link=_links(table, corpus, "pair_id"))
    if corpus.name == "toxigen_annotated":
        groups = table["target"].to_pylist()
        return replace(rows, aspect=[str(value).strip("[]").split(",")[0].strip("' ") for value in groups])
    return rows


def read_graphic(corpus: Corpus, table: pa.Table) -> Rows:
    """Graphic violence as a share of three votes."""
    return _rows(corpus, table, {"graphic_violence": _numbers(table, "violence_graphic")})


def read_annotations(corpus: Corpus, table: pa.Table) -> Rows:
    """Degrees 0-3 of the language model's annotations; 2 ("clear") and more count as present."""
    target = {
        label: _numbers(table, name) if name in TOPICS else np.interp(_numbers(table, name), *_DEGREES)
        for name, label in ANNOTATED_AS.items()
    }
    return _rows(corpus, table, target)


def read_claims(corpus: Corpus, table: pa.Table) -> Rows:
    """Misinformation risk weighted by the annotator's confidence; style is stripped from the text.

    What cannot be decided from the text gets about the share of false claims as its target, so that the
    model learns to stay near its base rate there.
    """
    risk, confidence = _numbers(table, "false_risk"), _numbers(table, "confidence")
    undecided = np.abs(risk - 1) < 0.5
    target = {
        "misinformation": np.where(undecided, UNDECIDED, np.interp(risk, *_DEGREES)),
        "antivax": np.interp(_numbers(table, "antivax"), *_DEGREES),
        "civic": _numbers(table, "civic"),
        "health": _numbers(table, "health"),
    }
    sure = np.interp(confidence, [0, 1, 2], [0.2, 0.6, 1.0])
    weight = {"misinformation": np.where(undecided, 0.5, sure)}
    return _rows(corpus, table, target, weight=weight, clean=without_style)


def read_clickbait(corpus: Corpus, table: pa.Table) -> Rows:
    """Headlines of clickbait sites against a news wire; style is stripped from the text."""
    target = {"clickbait": _numbers(table, "low_quality_news")}
    return _rows(corpus, table, target, clean=without_style)


def read_news(corpus: Corpus, table: pa.Table) -> Rows:
    """Misinformation, antivax and topic of the headline and claim sets."""
    topic = np.array([value or "" for value in table["topic"].to_pylist()])
    known = topic != ""
    target = {
        "misinformation": _numbers(table, "misinformation"),
        "antivax": _numbers(table, "antivax"),
        "civic": np.where(known, topic == "civic", np.nan),
        "health": np.where(known, topic == "health", np.nan),
    }
    return _rows(corpus, table, target)


def _toxicity(
    name: str, licence: str, role: Role, train_rows: int = 0, *, weight: float = 1.0, drop: str = ""
) -> Corpus:
    file = f"toxicity/{name}.parquet"
    dropped = frozenset(drop.split())
    return Corpus(name, file, licence, role, read_toxicity, train_rows, weight=weight, drop=dropped)


def _annotated(source: str, licence: str, role: Role = "train") -> Corpus:
    return Corpus(
        f"annotations/{source}",
        "annotations/annotations.parquet",
        licence,
        role,
        read_annotations,
        train_rows=10_000,
        passes=2,
        labelled_by=_LANGUAGE_MODEL,
        source=source,
    )


def _claims(source: str, licence: str) -> Corpus:
    return Corpus(
        f"claims/{source}",
        "annotations/claims.parquet",
        licence,
        "train",
        read_claims,
        train_rows=10_000,
        labelled_by=_LANGUAGE_MODEL,
        source=source,
    )


def _news(name: str, licence: str, role: Role = "unseen", train_rows: int = 0, drop: str = "") -> Corpus:
    file = f"misinformation/{name}.parquet"
    return Corpus(name, file, licence, role, read_news, train_rows, drop=frozenset(drop.split()))


CORPORA: tuple[Corpus, ...] = (
    _toxicity("jigsaw_wiki_train", "CC0 (comment text CC BY-SA 3.0)", "train", 10_000),
    # Every row is toxic: only its subtypes say anything.
    _toxicity("civil_toxic_spans", "CC0 1.0", "train", 4_000, drop="toxicity"),
    _toxicity("edos", "CC0 1.0", "train", 4_000),
    _toxicity("gab_hate_corpus", "CC BY 4.0 (stated by its authors)", "train", 5_500),
    _toxicity("hatemoji_build", "CC BY 4.0", "train", 4_000),
    _toxicity("hatexplain", "MIT", "train", 5_500),
    _toxicity("implicit_hate", "CC BY 4.0 / MIT", "train", 4_500),
    _toxicity("toxigen_annotated", "MIT", "train", 5_500),
    _toxicity("paradetox_pairs", "CC0", "train", 3_000),
    _annotated("fb_pages_2016", "MIT"),
    _annotated("wiki_context_cat_large", "Apache-2.0"),
    _annotated("jigsaw_wiki_train", "CC0"),
    _annotated("implicit_hate", "MIT"),
    _annotated("civil_toxic_spans", "CC0"),
    _annotated("edos", "CC0"),
    _annotated("hatexplain", "MIT"),
    _annotated("trigger_warning_passages", "MIT"),
    _annotated("prc_sample_facebook_comments", "MIT"),
    _annotated("gab_hate_corpus", "CC BY 4.0 (stated by its authors)"),
    _annotated("toxigen_annotated", "MIT"),
    _annotated("ucc_unhealthy", "CC BY-NC-SA 4.0", "unseen"),
    _annotated("popquorn_reddit_offensiveness", "none stated", "unseen"),
    _claims("buzzfeed_top2018", "CC BY 4.0"),
    _claims("clickbait16", "MIT"),
    _claims("fb_pages_2016", "MIT"),
    _claims("gab_hate_corpus", "CC BY 4.0 (stated by its authors)"),
    _claims("implicit_hate", "MIT"),
    _claims("horne2017_titles", "BSD-like"),
    _claims("fullfact_health_claims", "MIT"),
    _claims("ira_ads_2015_17", "US House release"),
    _claims("hatexplain", "MIT"),
    _claims("civil_toxic_spans", "CC0"),
    _claims("wiki_context_cat_large", "Apache-2.0"),
    Corpus(
        "trigger_warning_passages",
        "toxicity/trigger_warning_passages.parquet",
        "MIT",
        "train",
        read_graphic,
        train_rows=1_200,
    ),
    Corpus(
        "clickbait16",
        "misinformation/clickbait16.parquet",
        "MIT",
        "train",
        read_clickbait,
        train_rows=2_000,
        weight=0.5,
    ),
    _news("yuan_vaccine_stance", "feel free to use it", "train", 1_200, drop="civic health"),
    _toxicity("wiki_context_cat_large", "Apache-2.0", "natural"),
    # Kept out of training, though their licences allow it, so that transfer is measured on more platforms.
    _toxicity("convabuse", "CC BY 4.0", "unseen"),
    _toxicity("davidson", "MIT", "unseen"),
    _toxicity("mlma", "MIT", "unseen"),
    _toxicity("olid", "none stated", "unseen"),
    _toxicity("ucc_unhealthy", "CC BY-NC-SA 4.0", "unseen"),
    _toxicity("popquorn_reddit_offensiveness", "none stated", "unseen"),
    _toxicity("conda", "none stated", "unseen"),
    _toxicity("abuseanalyzer_gab", "none stated", "unseen"),
    _toxicity("impermium_insults", "none stated", "unseen", drop="toxicity"),
    _toxicity("hasoc", "none stated", "unseen"),
    _toxicity("ethos", "GPL-3.0", "unseen"),
    _toxicity("stormfront", "CC BY-SA 3.0 ES", "unseen"),
    _news("liar", "research purposes only", drop="civic health"),
    _news("fakenewsnet_politifact", "none stated", drop="civic health"),
    _news("constraint_covid", "none stated", drop="civic health"),
    _news("coaid", "none stated", drop="civic health"),
    _news("climate_fever", "none stated", drop="civic health"),
    _news("zindi_vaccine_stance", "none stated", drop="civic health"),
    _news("bbc_topics", "none stated"),
    _news("huffpost_topics", "none stated"),
)

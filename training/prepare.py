"""`python -m training.prepare [--data DIR] [--own FILE_OR_HUB ...] --out FILE`: one file of labelled texts.

Texts of the public data sets in DIR, of the user (see training.own), or of both. Beside FILE lies FILE.json:
for each corpus its rows, licence, who labelled it and the sha256 of its file.
"""

import argparse
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.examples import LabelledTexts
from models.taxonomy import LABELS
from training.atomic import write_json
from training.command import run_command
from training.contrast import DATA as WRITTEN
from training.contrast import contrast_rows
from training.corpora import CORPORA, Corpus, Rows, read
from training.duplicates import near_duplicate_groups
from training.own import NOT_STATED, Own, describe_own, read_own, stated_splits
from training.splits import assign_splits, sample_rows

_log = logging.getLogger(__name__)

DEV_ROWS = 1_500
TEST_ROWS = 2_500
UNSEEN_ROWS = 2_500

CONTRAST = Corpus(
    "contrast",
    "",
    "Apache-2.0",
    "train",
    lambda *_: contrast_rows(np.random.default_rng(0)),
    train_rows=4_500,
    weight=0.3,
    labelled_by="the authors of these sentences, written for this project",
)


def prepare(
    data: Path | None,
    *,
    corpora: tuple[Corpus, ...] = (*CORPORA, CONTRAST),
    own: Sequence[Own] = (),
    seed: int = 0,
) -> LabelledTexts:
    """All corpora as one set of columns, split by near-duplicate group and sampled per corpus.

    Training and dev rows are sampled with present labels favoured; test and unseen rows and those
    of natural prevalence are not. Own texts keep the splits that they state, and are all kept unless they
    repeat a text of another split. Without `data` there are own texts alone.
    """
    corpora = corpora if data is not None else ()
    parts = [read(corpus, data) for corpus in corpora if data is not None] + [part.rows for part in own]
    text = [entry for part in parts for entry in part.text]
    link = [entry for part in parts for entry in part.link]
    corpus_of = np.repeat(np.arange(len(parts)), [len(part.text) for part in parts])
    built_in = [corpora[number] for number in corpus_of if number < len(corpora)]
    group = near_duplicate_groups(text, link)
    role = np.array([corpus.role for corpus in built_in] + [name for part in own for name in part.role])
    stated = np.array([""] * len(built_in) + [name for part in own for name in part.split])
    source = np.array([corpus.name for corpus in built_in] + [name for part in own for name in part.source])
    labels = tuple(entry.name for entry in LABELS if any(entry.name in part.target for part in parts))
    everything = LabelledTexts(
        labels=labels,
        text=text,
        target=_columns(parts, labels, "target"),
        weight=np.nan_to_num(_columns(parts, labels, "weight")),
        source=source,
        split=stated_splits(assign_splits(role, group), stated, group),
        group=group,
        aspect=np.array([entry for part in parts for entry in part.aspect], dtype=np.str_),
    )
    return everything.take(_sampled(everything, corpora, corpus_of, np.random.default_rng(seed)))


def _columns(parts: list[Rows], labels: tuple[str, ...], field: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    columns = [
        np.column_stack([getattr(part, field).get(name, np.full(len(part.text), np.nan)) for name in labels])
        for part in parts
    ]
    return np.vstack(columns).astype(np.float32)


def _sampled(
    texts: LabelledTexts,
    corpora: tuple[Corpus, ...],
    corpus_of: np.ndarray[Any, Any],
    rng: np.random.Generator,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    positive = np.asarray((texts.target >= 0.5).any(axis=1))
    nothing = np.zeros(texts.n, dtype=bool)
    own = np.flatnonzero(corpus_of >= len(corpora))
    kept = [own[texts.split[own] != "dropped"]]
    _log.info("%d own texts left out: they repeat a text of another split", len(own) - len(kept[0]))
    for number, corpus in enumerate(corpora):
        for split in ("train", "dev", "test", "unseen", "natural_dev", "natural_test"):
            rows = np.flatnonzero((corpus_of == number) & (texts.split == split))
            at_most = {"train": corpus.train_rows, "dev": DEV_ROWS, "test": TEST_ROWS, "unseen": UNSEEN_ROWS}
            favoured = positive if split in {"train", "dev"} else nothing
            chosen = sample_rows(rows, at_most.get(split, len(rows)), favoured, rng)
            kept.append(np.repeat(chosen, corpus.passes if split == "train" else 1))
    return np.sort(np.concatenate(kept))


def describe(
    texts: LabelledTexts, data: Path, corpora: tuple[Corpus, ...] = (*CORPORA, CONTRAST)
) -> dict[str, Any]:
    """Per corpus: rows of each split, licence, role, who labelled it, and the sha256 of its file."""
    about: dict[str, Any] = {}
    for corpus in corpora:
        split, count = np.unique(texts.split[texts.source == corpus.name], return_counts=True)
        about[corpus.name] = {
            "rows": dict(zip(split.tolist(), count.tolist(), strict=True)),
            "licence": corpus.licence,
            "role": corpus.role,
            "labelled_by": corpus.labelled_by,
            "file": corpus.file or "written for this project",
            "sha256": _sha256(data / corpus.file if corpus.file else WRITTEN),
        }
    return about


def _sha256(path: Path) -> str:
    """Of a file, or of all files of a directory in the order of their names."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Reads the arguments, prepares, writes."""
    parser = argparse.ArgumentParser(prog="training.prepare", description=__doc__)
    parser.add_argument("--data", type=Path, help="directory of the corpora")
    parser.add_argument(
        "--own",
        action="append",
        default=[],
        help="own parquet, CSV or JSONL file, or hub:owner/name[:config]",
    )
    parser.add_argument("--licence", default=NOT_STATED, help="licence of the own texts, for the card")
    parser.add_argument("--out", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    if arguments.data is None and not arguments.own:
        parser.error("expected --data or --own, got neither")
    own = [part for origin in arguments.own for part in read_own(origin, licence=arguments.licence)]
    texts = prepare(arguments.data, own=own, seed=arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    texts.write(arguments.out)
    about = describe(texts, arguments.data) if arguments.data else {}
    about |= describe_own(texts, own)
    write_json(arguments.out.with_suffix(".json"), about)
    _log.info("%d texts of %d corpora in %s", texts.n, len(about), arguments.out)


if __name__ == "__main__":
    run_command(main)

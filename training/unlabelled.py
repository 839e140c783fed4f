"""`python -m training.unlabelled --data DIR --examples FILE --out FILE`: texts to distil with.

Texts of the public data sets that may train weights that ship, beyond the rows that training.prepare took,
and public posts of pages. A text that nearly repeats one of another split than "train" is left out.
"""

import argparse
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.examples import LabelledTexts
from models.normalise import normalised
from training.command import run_command
from training.corpora import CORPORA, Corpus, read
from training.duplicates import near_duplicate_groups

_log = logging.getLogger(__name__)

POSTS = "engagement/fb_pages_2016_minimaxir.parquet"
POSTS_LICENCE = "MIT"


def unlabelled(data: Path, examples: LabelledTexts, corpora: tuple[Corpus, ...]) -> pa.Table:
    """Texts that the examples do not hold, each once: columns text, source and licence.

    Raises:
        FileNotFoundError: a data set is not below `data`.
    """
    found: dict[str, tuple[str, str]] = {}
    for corpus in corpora:
        if corpus.role == "train":
            for text in read(corpus, data).text:
                found.setdefault(text, (corpus.name, corpus.licence))
    if not (data / POSTS).exists():
        raise FileNotFoundError(f"{data / POSTS}: expected posts of pages here (--data DIR)")
    for post in pq.read_table(data / POSTS, columns=["text"])["text"].to_pylist():
        if text := normalised(str(post or "")):
            found.setdefault(text, (Path(POSTS).stem, POSTS_LICENCE))
    for text in examples.text:
        found.pop(text, None)
    held_out = [text for text, split in zip(examples.text, examples.split, strict=True) if split != "train"]
    group = near_duplicate_groups([*held_out, *found])
    apart = ~np.isin(group[len(held_out) :], group[: len(held_out)])
    kept = [(text, *origin) for (text, origin), alone in zip(found.items(), apart, strict=True) if alone]
    _log.info("%d texts left out: they nearly repeat held-out ones", len(found) - len(kept))
    return pa.table({name: [row[i] for row in kept] for i, name in enumerate(("text", "source", "licence"))})


def main() -> None:
    """Reads the arguments, collects, writes."""
    parser = argparse.ArgumentParser(prog="training.unlabelled", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of the corpora")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--at-most", type=int, default=250_000, help="so many texts, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="parquet file to write")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    if given.at_most < 1:
        parser.error(f"--at-most: expected a number above 0, got {given.at_most}")
    everything = unlabelled(given.data, LabelledTexts.read(given.examples), CORPORA)
    rows = np.random.default_rng(given.seed).permutation(everything.num_rows)[: given.at_most]
    table = everything.take(rows)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, given.out)
    _log.info("%d texts in %s: %s", table.num_rows, given.out, Counter(table["source"].to_pylist()))


if __name__ == "__main__":
    run_command(main)

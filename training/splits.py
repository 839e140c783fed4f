"""Which texts train, which calibrate and which measure: decided per near-duplicate group."""

import zlib

import numpy as np
from numpy.typing import NDArray

DEV_SHARE = 0.08
TEST_SHARE = 0.14


def assign_splits(role: NDArray[np.str_], group: NDArray[np.int64]) -> NDArray[np.str_]:
    """The split of each text, from the role of its corpus ("train", "natural" or "unseen") and its group.

    A group with a training corpus in it is "train", "dev" or "test" as a whole. Texts of other corpora in
    such a group are "dropped": they are no longer unseen. The rest are "unseen", or half "natural_dev" and
    half "natural_test". The choice is a hash of the group number, the same in every run.
    """
    draw = np.array([zlib.crc32(str(int(g)).encode()) / 2**32 for g in group])
    in_training = np.isin(group, group[role == "train"])
    train_part = np.select([draw < TEST_SHARE, draw < TEST_SHARE + DEV_SHARE], ["test", "dev"], "train")
    natural_part = np.where(draw < 0.5, "natural_test", "natural_dev")
    other = np.where(in_training, "dropped", np.where(role == "natural", natural_part, "unseen"))
    return np.where(role == "train", train_part, other).astype(np.str_)


def sample_rows(
    rows: NDArray[np.int64], at_most: int, positive: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """At most so many of the rows, in their order; a row with any label present is three times as likely."""
    if len(rows) <= at_most:
        return rows
    p = np.where(positive[rows], 3.0, 1.0)
    return np.sort(rng.choice(rows, size=at_most, replace=False, p=p / p.sum()))

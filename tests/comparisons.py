"""Small comparisons whose figures can be worked out by hand."""

import numpy as np

from eval.comparison import Comparison, Context, compare
from eval.outcomes import Outcome
from reranker.assembly import feed_from_columns
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.presets import load_policy

ORIGINAL, TREATMENT = "fb-2018-h1", ("weights.angry=0",)


def swap_feed(n_users=40, per_user=1, **more) -> Feed:
    """Two posts per request: the angry one stands first before, the calm one after anger weighs nothing.

    Each user's requests are on one day; `more` holds further columns of two values, or of all rows.
    """
    n = n_users * per_user
    columns = {
        "request_id": [f"r{i:05d}" for i in range(n) for _ in range(2)],
        "post_id": [f"p{i:05d}" for i in range(2 * n)],
        "user": [f"u{i // per_user:05d}" for i in range(n) for _ in range(2)],
        "time": [np.datetime64("2025-03-01T10:00:00", "us")] * (2 * n),
        "like": [1, 9] * n,
        "angry": [9, 0] * n,
    }
    columns |= {name: values * n if values and len(values) == 2 else values for name, values in more.items()}
    return feed_from_columns({name: values for name, values in columns.items() if values is not None})


def swapped(feed, outcomes, *, settings=TREATMENT, shown="1", also=("rbp:0.2", "log2"), margins=None, **rest):
    """The comparison of the two policies that `swap_feed` is made for."""
    original, treatment = (Reranker(load_policy(ORIGINAL, chosen)).rank(feed) for chosen in ((), settings))
    context = Context("toy", margins=margins, planned_margins=rest.pop("planned", None))
    options = {"n_resamples": 50, "segments": (), "context": context} | rest
    return compare(original, treatment, outcomes, shown=shown, also=also, **options)


def harm(feed, angry, calm, name="thing") -> Outcome:
    """A chance of harm, that of each request's angry and calm post; single values or one per request."""
    pair = np.broadcast_arrays(np.asarray(angry, float), np.asarray(calm, float))
    values = np.stack(pair, axis=-1) * np.ones((feed.n_requests, 1))
    return Outcome(name, "exposure", values.reshape(-1), "a thing", "share")


def activity(feed, before, after, name="comments") -> Outcome:
    """An activity that each request shows under the original policy, and under the treatment."""
    values = np.column_stack([before * np.ones(feed.n_requests), after * np.ones(feed.n_requests)])
    return Outcome(name, "activity", values.reshape(-1), "an activity", "count")


def texts(comparison: Comparison) -> str:
    """All sentences of the verdict."""
    from eval.verdict import verdict

    return " ".join(sentence.text for sentence in verdict(comparison))

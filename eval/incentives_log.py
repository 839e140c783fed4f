"""A log of impressions as rows of views, for the same diagnostics: what the viewer did, with what was shown.

`borderline_curve(rows.harm["toxicity"] / line, rows.action["comment"], rows.user)` is the borderline curve of
comments per view, `reaction_lifts(rows.reactions(), rows.harm, rows.user, min_reactions=1)` the harm of what
drew each reaction, `anger_received(*rows.anger(), rows.author)` the anger received by relation.
"""

from dataclasses import dataclass

import numpy as np

from reranker.columns import FloatArray, IntArray
from reranker.impressions import ImpressionLog
from reranker.signals import REACTIONS, RELATIONS


@dataclass(frozen=True, eq=False)
class ViewRows:
    """Slots that were in view, one row each.

    Attributes:
        user: (v,) code of the viewer: what is independent.
        item: (v,) the post.
        harm: by label (v,), NaN where not scored.
        action: by name (v,) how often the viewer did it.
        groups: by name (v,) codes of the post, such as publisher, author and relation; -1 where unknown.
    """

    user: IntArray
    item: IntArray
    harm: dict[str, FloatArray]
    action: dict[str, FloatArray]
    groups: dict[str, IntArray]

    def reactions(self) -> dict[str, FloatArray]:
        """The viewer's reactions by kind.

        Raises:
            ValueError: the log has none.
        """
        found = {name: self.action[name] for name in REACTIONS if name in self.action}
        if not found:
            raise ValueError(f"action: expected reactions, got {', '.join(self.action) or 'none'}")
        return found

    def anger(self) -> tuple[FloatArray, FloatArray]:
        """(v, 7) angry and all reactions of the viewer, by index into RELATIONS and unknown last.

        Raises:
            ValueError: the log has no angry action, or no group "relation" with codes of RELATIONS.
        """
        if "angry" not in self.action:
            raise ValueError(f"action: expected angry, got {', '.join(self.action) or 'none'}")
        if "relation" not in self.groups:
            raise ValueError(f"groups: expected relation, got {', '.join(self.groups) or 'none'}")
        relation, unknown = self.groups["relation"], len(RELATIONS)
        if relation.size and int(relation.max()) >= unknown:
            raise ValueError(f"relation: expected codes below {unknown}, got {int(relation.max())}")
        own = np.where(relation < 0, unknown, relation)[:, None] == np.arange(unknown + 1)
        every = np.sum(list(self.reactions().values()), axis=0)
        return own * self.action["angry"][:, None], own * every[:, None]


def viewed_rows(log: ImpressionLog) -> ViewRows:
    """The views of a log; where views were not logged, every slot counts as one, which flattens rates.

    Args:
        log: of any ranker; nothing is reweighted: it is what was shown, not what another policy would show.
    """
    slots = np.arange(log.n_slots) if log.viewed is None else np.flatnonzero(log.viewed)
    rows = log.slate[slots]
    return ViewRows(
        user=log.user.codes[log.request_of_slot[slots]].astype(np.int64),
        item=log.item_id[rows],
        harm={name: values[rows].astype(np.float64) for name, values in log.harm.items()},
        action={name: values[slots].astype(np.float64) for name, values in log.action.items()},
        groups={name: codes[rows] for name, codes in log.groups.items()},
    )

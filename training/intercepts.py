"""What sets data sets apart, learned beside the model and dropped when training ends.

A label is common in one data set and rare in another, for how each was collected and annotated. Were the
features to explain that, they would learn to tell data sets apart, which says nothing of the next one. So
each data set has an intercept of its own for each label, as in a regression with fixed effects.
"""

import torch
from torch import nn


class SourceIntercepts(nn.Module):
    """Intercepts (n_sources, L), each label's 0 in the mean over its annotations: the model has the rest."""

    share: torch.Tensor

    def __init__(self, share: torch.Tensor) -> None:
        """They start at 0. `share` (n_sources, L) is the part of a label's annotations in each data set."""
        super().__init__()
        self.register_buffer("share", share, persistent=False)
        self.value = nn.Parameter(torch.zeros_like(share))

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        """Float32 (n, L), to add to the logits of texts of these data sets, int64 (n,)."""
        return (self.value - (self.share * self.value).sum(dim=0))[source]


def source_shares(weight: torch.Tensor, source: torch.Tensor, n_sources: int) -> torch.Tensor:
    """Float32 (n_sources, L): the part of each label's weight (n, L) that is of each data set; 0 of none.

    `source` int64 (n,) is in [0, n_sources).
    """
    total = torch.zeros(n_sources, weight.shape[1]).index_add(0, source, weight)
    return total / total.sum(dim=0).clamp_min(torch.finfo(torch.float32).tiny)

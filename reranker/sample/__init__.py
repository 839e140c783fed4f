"""A synthetic sample of feeds: invented people, publishers, posts and reactions, from a seed.

Every text was written for it, and its truth (the `is_...` attributes) is the generator's own: good for
trying the tool and for tests, never evidence of how real feeds behave.
"""

from reranker.sample.feeds import make_sample
from reranker.sample.people import DOMAIN_RATINGS

__all__ = ["DOMAIN_RATINGS", "make_sample"]

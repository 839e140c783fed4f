"""Property tests draw the same examples in every run, and none fails for being slow on a busy machine."""

from hypothesis import settings

settings.register_profile("hermetic", derandomize=True, deadline=None)
settings.load_profile("hermetic")

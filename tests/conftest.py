"""How thoroughly Hypothesis searches: HYPOTHESIS_PROFILE=thorough for more."""

import os

from hypothesis import settings

# the same examples in each run, so that no run surprises
settings.register_profile("default", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=250, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

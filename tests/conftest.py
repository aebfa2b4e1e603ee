"""How thoroughly Hypothesis searches: HYPOTHESIS_PROFILE=thorough for more."""

import os

from hypothesis import settings

# the same examples in each run, so that a quick run never surprises
settings.register_profile("default", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=250, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

"""Calls to test an op on, by the path that declarations of the user's own import them from."""

from tapegrad.declare.domain import *  # noqa: F403

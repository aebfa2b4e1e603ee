"""Declarations of ops, batching rules, parts of several results, and ops of the user's own."""

from tapegrad.declare.declarations import *

"""A tape to look at: a page to step through, graphs, tables."""

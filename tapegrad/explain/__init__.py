"""Tools to inspect a tape: tables, the page, sweep steps, profiles, and explanations."""

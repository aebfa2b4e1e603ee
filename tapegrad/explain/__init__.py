"""Looking at a tape: show and the page, steps, rules, why_zero, finite checks."""

"""The benchmark in parts: `workloads`, `peers` that compute them, and how they are timed."""

"""The cases of `contrast.py`: faults of the stateful design, and costs of the functional one."""

"""Other libraries: functions for JAX and PyTorch, and training on several processes by MPI."""

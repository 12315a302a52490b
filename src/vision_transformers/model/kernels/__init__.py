"""The same results sooner: parts of the model in C for CPUs, and in Triton for GPUs."""

"""Methods: each turns a batch into losses and knows nothing else."""

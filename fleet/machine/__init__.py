"""Programs that run on the machines: standard library only, as a machine has nothing else."""

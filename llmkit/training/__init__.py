"""The training loop: batches of a step, optimizer, checkpoints, resuming."""

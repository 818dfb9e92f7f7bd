"""What all sides of segloop agree on: tasks, stacks, volumes, masks, results, errors. No network, no torch."""

"""What the gateway knows about the objects it keeps: studies, series, instances, stacks, results, deliveries."""

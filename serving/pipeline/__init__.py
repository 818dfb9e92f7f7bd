"""From a complete study to delivered results, in durable steps."""

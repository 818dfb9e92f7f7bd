"""Made-up studies to try the gateway with, where no data is at hand."""

"""The runs of an experiment: plan them, compute each once, store it whole, and remove old ones."""

"""The policy: the only room that calls the model's forward; sampling, scoring and the next-token distribution."""

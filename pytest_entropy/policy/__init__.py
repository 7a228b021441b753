"""The policy: sampling, scoring and the next-token distribution; no other room calls the model's forward pass."""

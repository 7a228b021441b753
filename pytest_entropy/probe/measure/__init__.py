"""How delta_h1 is measured: from two batches or from one, per response or per token."""

"""From runs to analyses: what each experiment concludes, as plain records and check outcomes."""

"""Standard errors: with the update batch random as well, and by the jackknife."""

"""The update batch U and the step it leads to: objective, token weights, gradient, direction."""

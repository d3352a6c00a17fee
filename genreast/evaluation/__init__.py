"""From a model and a split to what can be said of it."""

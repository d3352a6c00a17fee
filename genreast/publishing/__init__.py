"""From a model folder to the Hub."""

"""Samples for training as numpy dictionaries, by index or as shuffled streams; no framework needed."""

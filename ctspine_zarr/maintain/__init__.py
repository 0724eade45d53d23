"""A store that stands: proven whole, and given back as the files it was made from."""

"""Rules about labels, lists of known faults, and what is told of both. Below reading and writing; pure."""

"""Work side by side: in daemon threads, in requests with a deadline, in worker processes."""

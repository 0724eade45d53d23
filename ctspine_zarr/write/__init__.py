"""From a source to a store: plan, ingest case by case, finalize. Never imports the reader."""

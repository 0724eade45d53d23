"""Publication of a store: to a bucket, the Hub, or over HTTP from this machine."""

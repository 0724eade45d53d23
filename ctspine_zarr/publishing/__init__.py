"""A store to where others can read it: to a bucket, to the Hub, or over HTTP from this machine."""

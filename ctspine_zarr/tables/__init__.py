"""Tables of what records say, and the same as Parquet files."""

"""What a store holds: paths, codecs, shards, metadata documents and records.

The one meeting point of the writer (`write`) and the reader (`read`); pure, no I/O.
"""

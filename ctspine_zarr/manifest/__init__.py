"""The documents that say and prove what a store holds: root, catalog and receipts, loaded and replaced.

The one place where reader, writer, verification and publishing learn what belongs to a store.
"""

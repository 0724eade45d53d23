"""Verification and repair of a store, and export of its cases."""

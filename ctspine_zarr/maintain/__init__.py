"""Verification of a store, and export of its cases."""

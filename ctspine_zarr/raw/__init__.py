"""A dataset's own files: listed at one commit of a repository on the Hub, and brought to a tree on a disk."""

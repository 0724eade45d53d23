"""A page that shows the cases of a store in a browser, and the local server that it asks."""

"""From a store to slices, patches and volumes. Never imports the writer."""

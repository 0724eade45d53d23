"""A second store from a first: resampled, cropped, relabelled."""

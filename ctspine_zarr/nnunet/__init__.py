"""A store as a dataset of nnU-Net 2: raw, preprocessed, or read as it is trained on."""

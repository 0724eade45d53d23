"""The Hugging Face Hub: its repositories, as a place to read, a place of sources and a place to publish."""

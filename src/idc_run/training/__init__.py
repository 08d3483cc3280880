"""Training: data, model, loop, validation, test; what `idc-run` does with one spec."""

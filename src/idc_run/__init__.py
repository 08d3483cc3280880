"""The application: a YAML spec becomes data, a trained model, scores, a tracked run and a served model."""

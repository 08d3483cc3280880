"""People rate captions: a blinded study in a web page, and how far the raters agree with each other and the metrics."""

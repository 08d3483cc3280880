"""Human rating of captions: a blinded study on a web page, and agreement among raters and with metrics."""

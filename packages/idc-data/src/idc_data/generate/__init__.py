"""Making triples: images -> similar pairs -> captions -> differences -> filtered, split and published."""

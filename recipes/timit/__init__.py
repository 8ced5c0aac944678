"""Phone recognition on TIMIT, or on the built-in corpus."""

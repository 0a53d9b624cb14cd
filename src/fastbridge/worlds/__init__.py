"""Models of the other side of each wire, without I/O, for whoever plays it."""

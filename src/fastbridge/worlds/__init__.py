"""Models of the other side of each wire, without I/O: shared by the embedded AI, the caller and the tests."""

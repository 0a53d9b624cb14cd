"""Other bridges from their registries, measured by the same load: `make bench-peers`."""

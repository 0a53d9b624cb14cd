"""The proofs of the ring: jobs, mutants, model (docs/proofs.md)."""

"""Pure translation between wire messages and events, one module a dialect."""

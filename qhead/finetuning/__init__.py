"""Training where the circuit runs: measured derivatives on any target, priced and resumable."""

"""A parameterised-quantum-circuit head on a sentence transformer."""

"""Saved models: one folder of safetensors, JSON and OpenQASM 3; nothing is pickled."""

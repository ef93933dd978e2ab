"""Circuits: definitions, transforms, measurement settings, intervals and hashes."""

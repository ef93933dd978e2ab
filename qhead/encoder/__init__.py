"""Frozen sentence transformers and the cache of their embeddings on disk."""

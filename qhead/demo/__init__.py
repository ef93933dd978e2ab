"""Sentences that ship with the project: see README.md beside this file."""

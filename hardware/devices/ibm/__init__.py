"""IBM's platform: its client, its answers, and what they mean."""

"""The ledger: runs, jobs, tags, charges and results in one SQLite file."""

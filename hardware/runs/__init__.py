"""Submit, collect, resume, cancel: the only wing that spends."""

"""Devices: what the runner asks of one, who answers, and what calibrations say."""

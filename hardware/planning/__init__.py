"""Plans: a workload and a calibration become tiles, jobs and a cost. Pure."""

"""Many parameter sets of one circuit, through simulators, emulators and IBM Quantum devices."""

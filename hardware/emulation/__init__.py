"""A noisy circuit, here: from rates, calibrations, tiled devices and fakes."""

"""Makes the artifacts that `models` loads: data, training, calibration, packaging."""

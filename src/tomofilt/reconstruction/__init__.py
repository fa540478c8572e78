"""From a tilt series to the slabs of its tomogram."""

"""Methods of reconstruction: each a class that yields the slabs of a tomogram."""

"""A tilt series: its images, geometry, contrast transfer and dose, and the door for projects."""

"""From raw images to corrected images on the common tilt axis."""

"""Stand-ins for what a reconstruction is given."""

import numpy as np


class Images:
    """Images in memory, with a real file that stands for them in the record."""

    def __init__(self, stack, path, pixel_angst=10.0):
        self.stack = np.asarray(stack, dtype=np.float32)
        self.shape, self.pixel_angst = self.stack.shape, pixel_angst
        path.write_bytes(b"images")
        self.files = (path,)

    def read(self, image, y_start=0, y_stop=None):
        return self.stack[image, y_start:y_stop]

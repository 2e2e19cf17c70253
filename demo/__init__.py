"""``diversity-guidance demo``: the embedded model before and after, judged by the real images."""

"""Near-duplicates: images of which one is the other, encoded anew, resized, cropped, mirrored or with other colours."""

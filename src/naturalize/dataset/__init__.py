"""From image files to a catalog, its audit and a split; and where to get the images."""

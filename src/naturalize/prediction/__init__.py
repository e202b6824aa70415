"""From image files to a table of classes: standardising images from elsewhere, and predicting."""

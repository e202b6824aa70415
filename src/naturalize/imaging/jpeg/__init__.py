"""What JPEG does to pixels: its codec, its grid of blocks, and what pixels were before it."""

"""What goes out of a review: the differential with its flags, and a reading as files."""

"""The review room: a person confirms or corrects the class of every cell, in a browser."""

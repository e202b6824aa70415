"""Server-rendered pages, and the plain ES modules and styles that they load."""

"""What is shown of a cell: its pictures, heat maps, and reference cells beside it."""

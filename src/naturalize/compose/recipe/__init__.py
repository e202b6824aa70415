"""Recipes and plans as data: what was drawn, before any pixel."""

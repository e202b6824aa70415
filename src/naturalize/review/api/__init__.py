"""REST under ``/api/v1``, uploads, and who may do what."""

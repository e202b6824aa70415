"""The server: the application put together, and started."""

"""What comes in: whatever a user names, as cells with a class, an order and clusters."""

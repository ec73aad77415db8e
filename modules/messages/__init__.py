"""What a message holds: its parts and their limits."""

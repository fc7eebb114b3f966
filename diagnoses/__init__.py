"""What models say about images, and where people read it."""

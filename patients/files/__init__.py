"""Files as they arrive: containers, structure checks of pictures, temporary files."""

"""The child process that decodes pixels: its program, its control, its refusals."""

"""The child process that decodes pixels: start, request, stop."""

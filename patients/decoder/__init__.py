"""The child process that decodes pixels, and how it is started, asked and stopped."""

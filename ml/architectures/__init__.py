"""Network graphs by architecture: flat, every layer named."""

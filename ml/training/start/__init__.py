"""Where training starts: initial weights, our own or published ones."""

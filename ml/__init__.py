"""A Keras library without Django; modules at this level are what inference needs."""

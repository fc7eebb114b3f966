"""Whether a model uses parts of the image outside the lungs.

`changes` takes something away from an image; `sources` asks whether the features of a
model tell where an image comes from; `measures` combines the metrics of both.
"""

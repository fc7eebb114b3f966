"""What a model could read off a film without looking at the lungs, and whether it does.

`changes` takes something away from a film; `sources` asks whether the features of a
model tell where a film comes from; `measures` puts figures of both together.
"""

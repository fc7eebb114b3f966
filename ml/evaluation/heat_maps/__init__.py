"""Whether heat maps say something: measured, not assumed.

`pointing` holds them against boxes that readers drew, `orders` takes from an image what
they name and looks whether the score follows, `randomisation` destroys the network
and looks whether they notice.
"""

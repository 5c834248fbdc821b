"""What callers may ask for, over HTTP and embedded alike: bodies, bounds, error texts.

Names are those of the API. Fields that are not named here are ignored, unless
they look like a typo.
"""

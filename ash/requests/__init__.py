"""What callers may ask for, whichever face they come to: shapes, bounds, and words of refusal.

Names are those of the API. What is not named here is ignored.
"""

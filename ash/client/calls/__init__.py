"""Every call of the API, described as data: what is asked, and what the answer holds.

What is None is not sent, and means what the API does without it (docs/api.md).
"""

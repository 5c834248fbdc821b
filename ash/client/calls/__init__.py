"""Every call of the API, described as data: the request and the type of its answer.

A parameter that is None is not sent; the API's default holds then (docs/api.md).
"""

"""The messages and stubs of the API, generated from proto/olmoe/v1 when the package is built.

What the rest of the package does not offer can be called with these directly.
"""

"""The face that speaks HTTP: a server of our own on Hypercorn, and the app that it serves."""

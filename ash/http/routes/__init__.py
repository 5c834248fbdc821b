"""The routes that Quart serves, one file for each resource."""

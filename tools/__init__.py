"""Tools of this repository: they build what the package ships, and are not installed with it."""

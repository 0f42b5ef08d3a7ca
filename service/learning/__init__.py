"""How a configuration is chosen: the space, regions in it, and policies that search it.

Pure computation on domain values; a random generator is passed in. No I/O.
"""

"""The command line: ``mechir-edu demo | patch | prefetch | check``; it only composes."""

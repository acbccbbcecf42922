"""The site: `pages` lays the repository's pages out, and ``python -m website OUT`` builds them.

Sphinx takes warnings for errors, such as links and anchors that lead nowhere. Nothing of another
host is loaded, so the site opens from a folder without a network.
"""

"""Ways to compute what patching asks for; `hooks` is the reference that the others equal."""

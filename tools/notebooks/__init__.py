"""What tools/build_notebooks.py is made of; its docstring has the conventions.

Data flows one way: ``sources`` reads what is written by hand, ``copies`` makes the two notebooks of
each, ``execution`` fills them in, ``outputs`` cleans what came out, ``comparison`` says what is not
as built, ``lint`` what is not as promised, ``table`` writes the README's list.
"""

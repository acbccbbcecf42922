"""The source of a notebook as small as possible, in a folder laid out like the project."""

import json

SOURCE = '''\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Try it
# **What you will do.** Add. **What you will learn.** Sums. **What you need.** 45 minutes, and
# [the README](../README.md).

# %%
import os

import matplotlib.pyplot as plt

# %% [markdown]
# ## Exercise 1: add
# Difficulty 1/5, importance 5/5, 5 minutes: all sums begin here.

# %% tags=["stub"]
def add(a: int, b: int) -> int:
    """Add two numbers."""
    raise NotImplementedError

# %% tags=["solution"]
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

# %% tags=["solution", "figure", "expected-sum"] alt="A line from zero to the sum of one and two."
plt.plot([0, add(1, 2)])
plt.show()

# %%
from types import SimpleNamespace

# Stands for the package, which takes seconds to import.
me = SimpleNamespace(tutorial=SimpleNamespace(progress=lambda: print("1 of 1 exercises right")))
def check_add(add):
    strict = os.environ.get("MECHIR_EDU_STRICT") == "1"
    try:
        wrong = add(1, 2) != 3
    except NotImplementedError:
        print("Not attempted yet:", "strict" if strict else "lenient")
    else:
        print("Not yet" if wrong else "Right:", "strict" if strict else "lenient")
        assert not (wrong and strict), "three is one and two"
check_add(add)

# %% [markdown]
# <details><summary>Hint 1: concept</summary>
#
# Plus.
#
# </details>
# <details><summary>Hint 2: name</summary>
#
# Plus.
#
# </details>
# <details><summary>Hint 3: almost code</summary>
#
# Plus.
#
# </details>
#
# <!-- expected: sum -->

# %% tags=["figure"] alt="A line from zero up to one, as any line."
plt.plot([0, 1])
plt.show()

# %% tags=["widget"]
"a panel"

# %% [markdown]
# ## What you saw
# A sum.
# ## On your own
# Subtract.
# ## Further reading
# - [Above](#exercise-1-add).
'''


def write_project(root, source=SOURCE, repository="", minutes="45"):
    """Lay out a project with the one notebook 03_try_it."""
    entry = {"name": "03_try_it", "minutes": minutes, "afterwards": "add"}
    files = {
        "README.md": "# Small\n<!-- notebooks -->\n<!-- /notebooks -->\nThe end\n",
        "docs/instructors.md": "# Teach\n<!-- seconds -->\n<!-- /seconds -->\n",
        "tutorials/contents.json": json.dumps([entry]),
        "tutorials/repository.json": json.dumps({"repository": repository, "ref": "v1"}),
        "tutorials/src/03_try_it.py": source,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root

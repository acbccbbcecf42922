"""Write the README's table of notebooks, and their time together, between its two markers."""

from pathlib import Path

from mechir_edu.files import write_whole
from notebooks.address import Address
from notebooks.sources import ROOT, Entry, contents, titles

START, END = "<!-- notebooks -->", "<!-- /notebooks -->"


def table(address: Address, *, root: Path = ROOT) -> str:
    """Make the table: a row for each notebook, and the sum of the minutes that are known.

    There are badges only where the repository is known.
    """
    columns = ["notebook", "minutes", "afterwards you can", "open", "solutions"]
    rows = [columns, ["---"] * len(columns)]
    shown = titles(root)
    entries = contents(root)
    rows += [_row(entry, shown[name], address) for name, entry in entries.items()]
    known = [int(entry.minutes) for entry in entries.values() if entry.minutes.isdigit()]
    together = f"{sum(known) // 60} h {sum(known) % 60} min"
    rows.append(["together, those that are open not counted", together, "", "", ""])
    if not address.repository:
        rows = [row[:3] + row[4:] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_table(
    page: str, made: str, name: str = "README.md", markers: tuple[str, str] = (START, END)
) -> str:
    """Replace the text between the markers.

    Raises
    ------
    ValueError
        If the markers are not there, once and in order.
    """
    before, start, rest = page.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not start or not end:
        raise ValueError(f"{name} needs {' and '.join(markers)} around the place of the table")
    return f"{before}{start}\n{made}\n{end}{after}"


def write_table(address: Address, *, root: Path = ROOT) -> None:
    """Update the README."""
    path = root / "README.md"
    before = path.read_text(encoding="utf-8")
    after = with_table(before, table(address, root=root))
    if after != before:
        write_whole(path, after.encode())


def outdated(address: Address, *, root: Path = ROOT) -> list[str]:
    """Tell whether the README's table differs from what the notebooks make, and what to run."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    if with_table(readme, table(address, root=root)) == readme:
        return []
    return ["README.md: its table of notebooks differs; run: python tools/build_notebooks.py build"]


def _row(entry: Entry, title: str, address: Address) -> list[str]:
    return [
        f"[{title}](tutorials/{entry.name}.ipynb)",
        entry.minutes,
        entry.afterwards,
        address.badges(entry.name),
        f"[solutions](tutorials/solutions/{entry.name}.ipynb)",
    ]

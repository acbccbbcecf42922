"""Which devices this machine can compute on."""

import torch


def find_device(name: str | torch.device) -> torch.device:
    """Look a device up by its name, before anything is loaded onto it.

    Parameters
    ----------
    name : "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps", ...

    Raises
    ------
    ValueError
        For a device that this machine does not have; lists those that it has.

    Examples
    --------
    >>> find_device("cpu")
    device(type='cpu')
    """
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.mps.is_available())}
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name) if isinstance(name, str) else name
        if (device.index or 0) < there.get(device.type, 0):
            return device
    except (RuntimeError, AttributeError):  # PyTorch knows no such name; it is no device
        pass
    names = [f"{kind}:{i}" if i else kind for kind, n in there.items() for i in range(n)]
    raise ValueError(
        f"device has to be auto or one that is here ({', '.join(names)}), got {name!r}"
    )

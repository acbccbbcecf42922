"""In which precision training multiplies: bfloat16 where the processor has it, float32 elsewhere.

A processor without bfloat16 imitates it. One with AVX2 alone then multiplies some sixty times
more slowly than in float32, which turns an hour of training into days.
"""

import torch


def working_dtype(device: torch.device) -> torch.dtype:
    """Choose bfloat16 if the device multiplies it natively, float32 if not."""
    return torch.bfloat16 if _has_bfloat16(device) else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        can = torch.cpu.get_capabilities()
        return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return False


def autocast(device: torch.device) -> torch.autocast:
    """Let products on a device be made in its `working_dtype`."""
    native = _has_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=native)

"""How much memory is free and used, on the machine and inside the limits of a container."""

from __future__ import annotations

from pathlib import Path

__all__ = ["free_memory", "used_memory"]

_CGROUP = Path("/sys/fs/cgroup")
_PROCESS_CGROUP = Path("/proc/self/cgroup")


def free_memory(device: str = "cpu") -> int:
    """Bytes that this process can still use.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"mps"``, which has the memory of the machine. On the CPU it
        is what the system has available, or less where a control group (a container, SLURM) or the process
        itself (`ulimit -v`) is limited.
    """
    if device.startswith("cuda"):
        import torch

        free_bytes, _ = torch.cuda.mem_get_info(device)
        # of what torch has reserved, it gives away what is not in use
        return int(free_bytes + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    import psutil

    return max(0, min([int(psutil.virtual_memory().available), *_cgroup_rooms(), *_address_space_room()]))


def used_memory(device: str = "cpu") -> int:
    """Bytes that this process uses now, on its device."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.memory_allocated(device))
    import psutil

    return int(psutil.Process().memory_info().rss)


def _cgroup_rooms() -> list[int]:
    """What each control group of this process, and those above it, leave; empty without limits."""
    try:
        entries = [line.split(":", 2) for line in _PROCESS_CGROUP.read_text().splitlines()]
    except OSError:
        return []
    rooms: list[int] = []
    for _, controllers, path in entries:
        if not controllers:  # version 2
            root, names = _CGROUP, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CGROUP / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / path.lstrip("/")
        # inside a container the path may be that of the host, while the root is the container's own
        for group in dict.fromkeys([folder, *(p for p in folder.parents if p.is_relative_to(root)), root]):
            room = _room(group, *names)
            if room is not None:
                rooms.append(room)
    return rooms


def _room(group: Path, limit_name: str, usage_name: str, cache_name: str) -> int | None:
    """Bytes that a control group leaves, with the file cache that it can drop; None without a limit."""
    try:
        limit = int((group / limit_name).read_text())  # "max" in version 2: no limit
        usage = int((group / usage_name).read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return limit - usage + int(statistics.get(cache_name, 0))


def _address_space_room() -> list[int]:
    """What the limit of the address space leaves; empty without one, and on Windows."""
    try:
        import resource
    except ImportError:
        return []
    import psutil

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if limit == resource.RLIM_INFINITY else [limit - int(psutil.Process().memory_info().vms)]

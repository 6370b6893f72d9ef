"""Dask clusters as executors: one that runs already, or one that is started as SLURM jobs.

A task whose worker dies is given to another by Dask itself; one that takes several workers with it is given up there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from experiments.provenance import source_digest
from experiments.settings import read_toml
from experiments.sweeps.driver import Cluster
from traces.errors import SlosimError

WAIT = 30.0
"""Seconds for a scheduler to answer, and for a first worker of a cluster that runs already."""


@contextmanager
def dask(address: str, jobs: int | None = None) -> Iterator[Cluster]:
    """The workers of a scheduler at an address; raises SlosimError if they cannot be reached or have another source."""
    distributed = needed("distributed", "pip install slosim[cluster]")
    try:
        client = distributed.Client(address, timeout=WAIT)
    except (OSError, ValueError) as error:
        raise SlosimError(f"--executor dask:{address}: no scheduler answers there ({error})") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError as error:
            raise SlosimError(
                f"--executor dask:{address}: it has no workers; start some: dask worker {address}"
            ) from error
        yield from _cluster(client, jobs or 2 * sum(client.nthreads().values()))


@contextmanager
def slurm(path: str, jobs: int | None = None) -> Iterator[Cluster]:
    """Workers as SLURM jobs, from a TOML file of their number, `jobs`, and what dask-jobqueue's SLURMCluster takes.

    They end with the sweep. `cores` and `memory` are needed; a job has `cores` workers of one thread unless `processes`
    says otherwise.
    """
    settings = read_toml(Path(path))
    number = settings.pop("jobs", 1)
    if not {"cores", "memory"} <= settings.keys():
        raise SlosimError(f"{path}: say what a job takes: cores = 16, memory = '32GB'; and jobs = 4 for their number")
    distributed = needed("distributed", "pip install slosim[cluster]")
    jobqueue = needed("dask_jobqueue", "pip install dask-jobqueue")
    try:
        started = jobqueue.SLURMCluster(**{"processes": settings["cores"], **settings})
    except (TypeError, ValueError) as error:
        raise SlosimError(f"{path}: dask_jobqueue.SLURMCluster does not take this: {error}") from error
    with started, distributed.Client(started) as client:
        started.scale(jobs=number)
        client.wait_for_workers(1)
        yield from _cluster(client, jobs or 2 * number * settings["cores"])


def _cluster(client: Any, window: int) -> Iterator[Cluster]:
    _same_source(client)
    executor = client.get_executor(pure=False)
    try:
        yield Cluster(executor, window, attempts=1)
    except BaseException:
        executor.shutdown(wait=False)
        raise


def _same_source(client: Any) -> None:
    """Raises SlosimError naming a worker whose slosim is not ours."""
    try:
        found = client.run(source_digest)
    except ImportError as error:
        raise SlosimError(
            f"the workers of {client.scheduler.address} have no slosim: {error}; install it there"
        ) from error
    for worker, digest in found.items():
        if digest != source_digest():
            raise SlosimError(
                f"worker {worker} has another slosim (source {digest[:8]}, not {source_digest()[:8]}): install the "
                "same there and restart it"
            )


def needed(module: str, how: str) -> Any:
    """A library that is not always there; raises SlosimError with how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise SlosimError(f"this executor needs {module}: {how} ({error})") from error

"""The suite for backends, on each of the real batch systems."""

import pytest
from batch_systems import SYSTEMS

from amltk_testing import BackendTests

pytestmark = [pytest.mark.batch_system, pytest.mark.timeout(300), pytest.mark.usefixtures("system")]


def on(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("system", [name], indirect=True)


class OnOneSystem(BackendTests):
    seconds = 60.0
    examples = 2  # each starts jobs
    shares = ("amltk_dask_jobqueue",)


@on("slurm")
class TestSlurm(OnOneSystem):
    backend = "slurm"
    options = {"n_workers": 2, **SYSTEMS["slurm"].options}  # noqa: RUF012 - nobody changes it


@on("sge")
class TestSge(OnOneSystem):
    backend = "sge"
    options = {"n_workers": 2, **SYSTEMS["sge"].options}  # noqa: RUF012 - nobody changes it


@on("pbs")
class TestPbs(OnOneSystem):
    backend = "pbs"
    options = {"n_workers": 2, **SYSTEMS["pbs"].options}  # noqa: RUF012 - nobody changes it


@on("oar")
class TestOar(OnOneSystem):
    backend = "oar"
    options = {"n_workers": 2, **SYSTEMS["oar"].options}  # noqa: RUF012 - nobody changes it


@on("htcondor")
class TestHtcondor(OnOneSystem):
    backend = "htcondor"
    options = {"n_workers": 2, **SYSTEMS["htcondor"].options}  # noqa: RUF012 - nobody changes it

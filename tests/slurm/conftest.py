"""What the tests of Slurm share: a Slurm of their own, and a project whose sections run as its jobs."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from private_slurm import QUICK, PrivateSlurm, missing


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A Slurm that ends with the tests."""
    if absent := missing():
        pytest.skip(f"not installed: {', '.join(absent)} (Debian, Ubuntu: apt-get install slurm-wlm munge)")
    with PrivateSlurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


class Project:
    """A copy of the project with some sections, whose outputs are its own."""

    def __init__(self, folder, root, slurm, sections):
        self.folder, self.slurm = folder, slurm
        for name in ("notebooks", "params/smoke", "setup"):
            (folder / name).mkdir(parents=True)
        for section in sections:
            shutil.copy(root / "notebooks" / f"{section}.ipynb", folder / "notebooks")
            shutil.copy(root / "params" / "smoke" / f"{section}.yaml", folder / "params" / "smoke")
        shutil.copy(root / "params" / "smoke" / "study.yaml", folder / "params" / "smoke")
        shutil.copytree(root / "params" / "paper", folder / "params" / "paper")  # 11_compute_budget reads it
        shutil.copy(root / "Snakefile", folder)
        (folder / "lib").symlink_to(root / "lib")
        (folder / ".venv").symlink_to(sys.prefix)
        text = (root / "Makefile").read_text().replace("setup/install.py", "-c pass")
        (folder / "Makefile").write_text(text)
        shipped = yaml.safe_load((root / "setup" / "slurm" / "cluster.yaml").read_text())
        (folder / "cluster.yaml").write_text(yaml.safe_dump(shipped | QUICK))

    def report(self):
        """Start `make report` on Slurm, both outputs in one pipe."""
        words = ["make", "--no-print-directory", "report", "EXECUTOR=slurm", "PROFILE=smoke", "CLUSTER=cluster.yaml"]
        paths = [str(self.folder / "lib"), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {"MEDPSY_ROOT": str(self.folder), "PYTHONPATH": os.pathsep.join(paths)}
        environment = os.environ | self.slurm.environment | own
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(words, cwd=self.folder, env=environment, **pipes)

    def output(self, name):
        return self.folder / "outputs" / "smoke" / name


@pytest.fixture(scope="module")
def project(slurm, root, tmp_path_factory):
    """Return a function that makes a project of the named sections."""
    return lambda *sections: Project(tmp_path_factory.mktemp("project"), root, slurm, sections)

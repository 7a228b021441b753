"""What pyproject.toml cannot say: the wheel holds experiments/ and configs/ as a part of the package.

So `pytest --pyargs pytest_entropy.experiments` works without a checkout, on the files that a reader of this repository
finds in experiments/ and configs/, and there is no second copy of them.
"""

from setuptools import find_packages, setup

FROM_THE_TOP_LEVEL = {
    "pytest_entropy.experiments": "experiments",
    "pytest_entropy.experiments.configs": "configs",
}

setup(
    packages=[*find_packages(include=["pytest_entropy*"]), *FROM_THE_TOP_LEVEL],
    package_dir=FROM_THE_TOP_LEVEL,
)

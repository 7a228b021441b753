"""The built-in experiments, one test module each; installed, this directory is pytest_entropy.experiments.

pytest experiments/                              in a checkout
pytest --pyargs pytest_entropy.experiments       with the installed package
"""

"""What more than one file of tests uses."""

pytest_plugins = ["prometheus_rig"]

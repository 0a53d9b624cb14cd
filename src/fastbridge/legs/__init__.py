"""The two sides of the bridged call: sockets and nothing else."""

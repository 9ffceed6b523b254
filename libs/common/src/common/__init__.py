"""What two or more Flotilla services must agree on, and nothing else."""

"""`python -m sandbox`: the simulated neighbours, until SIGTERM or SIGINT."""

from sandbox.platform import main

if __name__ == "__main__":
    main()

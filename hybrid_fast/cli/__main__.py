"""`python -m hybrid_fast.cli`, which launchers such as torchrun start."""

from hybrid_fast.cli import main

if __name__ == "__main__":
    main()

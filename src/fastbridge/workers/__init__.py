"""Several processes behind one port, and one that watches over them.

    fastbridge serve --workers 3
    └── supervisor      no port of its own; starts, restarts, drains, adds up
        ├── worker 0    listens on host:port with SO_REUSEPORT; the kernel spreads connections
        ├── worker 1    ...
        └── worker 2

Each worker has a line (a socket pair) to the supervisor. What is asked of one worker about all of
them goes up its line, from there to every worker, and back. The number of calls is on a board in
shared memory that everybody reads without asking.
"""

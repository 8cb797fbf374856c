"""The stages of the workflow, and what they are made of."""

import os

# Threads of one computation that wait for each other sleep instead of spinning: on a machine with
# other work a question took 35 times as long otherwise. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

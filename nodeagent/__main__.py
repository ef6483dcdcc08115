"""``python -m nodeagent``: the agent of one provider host, without the command line of ``lattice``."""

import sys

from nodeagent.main import main

sys.exit(main())

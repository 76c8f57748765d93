"""`python -m reprise`: the command line, where no script was installed."""

from reprise.cli.main import main

main()

from ..cli import extra

with extra("report"):
    from .report import main

main()

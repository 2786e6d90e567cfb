from ..cli import extra

with extra("report"):
    from .study import main

main()

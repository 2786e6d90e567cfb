from .encode import main

main()
